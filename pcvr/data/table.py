"""Reader of Hugging Face ``datasets`` tables.

Which column is what is found by name, the usual ones first, and can be said instead. Rows stay on disk (Arrow, memory
mapped) until asked for; texts and ids are looked through once, when a table is opened.
"""

from __future__ import annotations

import hashlib
from array import array
from collections import Counter
from typing import TYPE_CHECKING

from pcvr.data import report as kinds
from pcvr.data.columns import (
    OF_PICTURES,
    OF_ROWS,
    check_columns,
    find_columns,
    named,
    plain_rows,
    split_labels,
    task_of,
)
from pcvr.data.pictures import UNREADABLE
from pcvr.data.records import Unique
from pcvr.data.report import BadData, EntryError, Problem, Report
from pcvr.data.sample import Dataset, Image, Sample
from pcvr.data.split import canonical, own_splits, split_by_key
from pcvr.data.subset import Subset, position
from pcvr.data.table_pictures import TablePictures
from pcvr.data.table_texts import TableTexts
from pcvr.errors import PcvrError
from pcvr.tasks import get_task

if TYPE_CHECKING:
    from datasets import Dataset as Rows

_AT_ONCE = 1000
_BAR_AFTER = 2.0


class HubTable:
    """A ``datasets.Dataset`` as a :class:`~pcvr.data.sample.Dataset`.

    The answers' column holds a text, a list of texts, or a list of mappings with an ``"answer"`` (as VQAv2 has); all
    are references. The model is trained to say the label (``multiple_choice_answer``) where there is such a column,
    else the most common answer to a question (of several the first), and of captions one in turn. A column of
    conversations is read as :class:`~pcvr.data.llava_json.LlavaJson` reads them. Names of classes stand for their
    numbers; ids that stand more than once are made unique. Pictures come as uint8 ``[H, W, 3]`` RGB.

    Attributes:
        rows: the table, whole.
        columns: which column is what.
        report: what was wrong with the rows left out (only after ``skip_bad=True``), and notes.
    """

    def __init__(
        self,
        rows: Rows,
        task: str | None = None,
        *,
        split: str = "all",
        skip_bad: bool = False,
        check_pictures: bool = False,
        **columns: str,
    ) -> None:
        """
        Args:
            rows: the table.
            task: what is asked; by default ``"vqa"`` where there are questions and the answers are mappings, else
                ``"caption"``. A task without a prompt of its own needs a column of questions.
            split: which split of a larger whole `rows` are, for the name.
            skip_bad: leave out the rows that cannot be used, and keep the report.
            check_pictures: decode every picture now.
            columns: names of columns that are not found by themselves: ``image=``, ``answers=``, ``label=``,
                ``prompt=``, ``conversations=``, ``id=``.

        Raises:
            BadData: naming every row that cannot be used (the first ten in words, and how many in all).
            PcvrError: unknown task or column, no picture or answer column, an empty table, or one that streams or has
                a transform.
        """
        self.rows = rows = plain_rows(rows)
        self.columns = find_columns(rows, columns)
        if len(rows) == 0:
            raise PcvrError("the table has no rows: give at least one.")
        self._split = split
        self._task: str = task if task is not None else task_of(rows, self.columns)
        asks = get_task(self._task).prompt is None
        check_columns(rows, self.columns, asks)
        self._texts = TableTexts(rows, self.columns, asks)
        self._pictures = TablePictures(rows, str(self.columns["image"]))
        self._labels = split_labels(rows)
        self.report = Report(self.name, looked=Counter(rows=len(rows)))
        if self._labels:
            self.report.note(kinds.UNSPLIT, self._labels.count(""))
        # Of each sample its id, its row, and which of the row's pairs of turns it is.
        self._ids: list[str] = []
        self._places, self._turns = array("q"), array("q")
        self._bad: set[int] = set()
        self._look_through(self._identities(given="id" in columns))
        if check_pictures:
            self._decode_pictures()
        if self.report and not skip_bad:
            raise BadData(self.report)
        if not self._places:
            raise BadData(self.report, "nothing usable is left without: put them right")

    @property
    def name(self) -> str:
        return f"table:{self.rows.info.dataset_name or 'rows'}" + ("" if self._split == "all" else f":{self._split}")

    @property
    def task(self) -> str:
        return self._task

    @property
    def problems(self) -> list[Problem]:
        """What was left out and why, after ``skip_bad=True``."""
        return self.report.problems

    @property
    def splits(self) -> dict[str, int]:
        """The splits of the samples and how many each has: by the table's own column, else the one that the table is.

        Empty where there are none.
        """
        labels = self._labels
        if labels:
            return dict(Counter(label for row in self._places if (label := labels[row])))
        return {} if self._split == "all" else {self._split: len(self)}

    def __len__(self) -> int:
        return len(self._places)

    def __getitem__(self, index: int, /) -> Sample:
        place = position(index, len(self))
        row = self._places[place]
        image = self._picture(row)
        said = self._texts[row].said[self._turns[place]]
        if isinstance(said, EntryError):
            raise PcvrError(f"row {row} of {self.name} is not what it was when the table was opened: open it again.")
        prompt = said.prompt or get_task(self._task).prompt or ""
        return Sample(self._ids[place], image, prompt, said.answer, said.references)

    def fingerprint(self) -> str:
        """A hash of the table's own fingerprint, which follows its content, of the columns and of what is left out."""
        left_out = sorted(self._bad) if self._bad else ""
        said = f"{self.rows._fingerprint} {sorted(self.columns.items(), key=str)} {self._task}{left_out}"
        return hashlib.sha256(said.encode()).hexdigest()[:16]

    def split(self, name: str) -> Dataset:
        """The samples of one split; ``"all"`` is the whole.

        Where a column says which split a row is in, that is it. Otherwise about 80 % are train, 10 % validation and
        10 % test, by a hash of the picture's file name or id, or of the row's where no column has the picture's.

        Raises:
            PcvrError: for an unknown split, or one that holds no row.
        """
        held = self.splits
        if held and name != "all":
            wanted = own_splits(name, held, self.name)
            if not self._labels:
                return self
            indices = [place for place, row in enumerate(self._places) if self._labels[row] in wanted]
            return Subset(self, indices, label=canonical(name))
        column = next((each for each in OF_PICTURES if each in self.rows.column_names), None)
        keys = self._identities() if column is None else [str(value).rpartition("/")[2] for value in self.rows[column]]
        return split_by_key(self, (keys[row] for row in self._places), name)

    def _identities(self, given: bool = False) -> list[str]:
        """An id for each row; a column of pictures' ids becomes one by the rows' numbers."""
        column = self.columns["id"]
        if column is None:
            return [str(row) for row in range(len(self.rows))]
        name = named(self.rows.features[column])
        ids = [str(row if value in (None, "") else name(value)) for row, value in enumerate(self.rows[column])]
        if not given and column not in OF_ROWS and len(set(ids)) < len(ids):
            return [f"{name}-{row}" for row, name in enumerate(ids)]
        return ids

    def _look_through(self, ids: list[str]) -> None:
        """Make a sample of each row, or of each pair of its turns; note what cannot be one."""
        unique, pictures = Unique(), self._pictures.counts()
        for start in range(0, len(self.rows), _AT_ONCE):
            for row, texts in enumerate(self._texts.batch(start, _AT_ONCE), start):
                count = int(pictures[row])
                if not count and not texts.pictured:
                    self.report.note(kinds.TEXT_ONLY)
                    continue
                name = unique(ids[row])
                self.report.note(kinds.REPEATED, name != ids[row])
                self.report.notes += texts.notes
                where = f"row {row} ({name!r})" if self.columns["id"] else f"row {row}"
                for turn, said in enumerate(texts.said):
                    if isinstance(said, EntryError):
                        self._problem(row, said.kind, where, str(said))
                    elif count == 1:
                        self._ids.append(unique(f"{name}#{turn + 1}") if turn else name)
                        self._places.append(row)
                        self._turns.append(turn)
                if count > 1:
                    self._problem(row, kinds.SEVERAL, where, f"it has {count} pictures, not one")
                elif not count:
                    self._problem(row, kinds.MISSING, where, "it has no picture")

    def _decode_pictures(self) -> None:
        from tqdm.auto import tqdm

        unreadable: dict[int, bool] = {}
        for place, row in enumerate(tqdm(self._places, desc="checking pictures", unit="picture", delay=_BAR_AFTER)):
            if row in unreadable:
                continue
            try:
                self._picture(row)
                unreadable[row] = False
            except PcvrError as error:
                unreadable[row] = True
                where = f"row {row} ({self._ids[place]!r})" if self.columns["id"] else f"row {row}"
                self._problem(row, kinds.UNREADABLE, where, str(error))
        kept = [place for place, row in enumerate(self._places) if not unreadable[row]]
        self._ids = [self._ids[place] for place in kept]
        self._turns = array("q", (self._turns[place] for place in kept))
        self._places = array("q", (self._places[place] for place in kept))

    def _problem(self, row: int, kind: str, where: str, what: str) -> None:
        self.report.add(kind, where, what)
        self._bad.add(row)

    def _picture(self, row: int) -> Image:
        try:
            return self._pictures[row]
        except (PcvrError, *UNREADABLE) as error:
            raise PcvrError(f"row {row} of {self.name} has no usable picture: {error}") from error
