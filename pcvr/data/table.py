"""Reader of Hugging Face ``datasets`` tables.

Columns are found by their usual names, or named by the user. Rows stay on disk (Arrow, memory mapped) until they are
accessed; texts and ids are checked once, when a table is opened.
"""

from __future__ import annotations

import hashlib
from array import array
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

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
from pcvr.data.reader import Reader, checking
from pcvr.data.records import Unique
from pcvr.data.report import BadData, EntryError, Report
from pcvr.data.sample import Image, Sample
from pcvr.data.subset import position
from pcvr.data.table_pictures import TablePictures
from pcvr.data.table_texts import TableTexts
from pcvr.data.turns import TOGETHER
from pcvr.errors import PcvrError
from pcvr.tasks import get_task

if TYPE_CHECKING:
    from datasets import Dataset as Rows

_AT_ONCE = 1000


class HubTable(Reader):
    """A ``datasets.Dataset`` as a :class:`~pcvr.data.sample.Dataset`.

    The answers' column holds a text, a list of texts, or a list of mappings with an ``"answer"`` (as VQAv2 has); all
    are references. The answer to train on is the label column (``multiple_choice_answer``) if there is one, else the
    most common answer to a question (the first of several), or one of the captions in turn. Conversations are read as
    in :class:`~pcvr.data.llava_json.LlavaJson`. Class numbers become their names, repeated ids are made unique, and
    images are uint8 ``[H, W, 3]`` RGB.

    Attributes:
        rows: the whole table.
        columns: column of each role.
        tables: the tables that `rows` were taken from, by split; a single one has the name ``""``.
        parts: what `rows` are joined of: names of tables with numbers of their rows, in order.
        report: problems of the rows that were left out (only after ``skip_bad=True``), and notes.
    """

    format: ClassVar[str] = "table"
    _row_of: array[int]

    def __init__(
        self,
        rows: Rows,
        task: str | None = None,
        *,
        split: str = "all",
        skip_bad: bool = False,
        check_pictures: bool = False,
        turns: str = TOGETHER,
        **columns: str,
    ) -> None:
        """
        Args:
            rows: the table.
            task: a key of :data:`pcvr.tasks.TASKS`; by default ``"vqa"`` for questions with mappings as answers, else
                ``"caption"``. A task without a prompt of its own needs a column of questions.
            split: the split that `rows` are, for the name.
            skip_bad: leave out rows with problems, and keep the report.
            check_pictures: decode every image now.
            turns: ``"together"`` or ``"apart"``, as of :class:`~pcvr.data.llava_json.LlavaJson`.
            columns: names of columns with unusual names: ``image=``, ``answers=``, ``label=``, ``prompt=``,
                ``conversations=``, ``id=``.

        Raises:
            BadData: a row has a problem and `skip_bad` is off, or no row is usable; the report lists all problems.
            PcvrError: unknown task or column, no image or answer column, an empty table, or one that streams or has
                a transform.
        """
        self.rows = rows = plain_rows(rows)
        self.columns = find_columns(rows, columns)
        self.tables: Mapping[str, Rows] = {"": rows}
        self.parts: list[tuple[str, Sequence[int]]] = [("", range(len(rows)))]
        if len(rows) == 0:
            raise PcvrError("the table has no rows: give at least one.")
        self._source, self._split = rows.info.dataset_name or "rows", split
        self._task = task if task is not None else task_of(rows, self.columns)
        asks = get_task(self._task).prompt is None
        check_columns(rows, self.columns, asks)
        self._texts = TableTexts(rows, self.columns, asks, turns)
        self._read_as = ""  # how conversations are read, if any has several turns
        self._pictures = TablePictures(rows, str(self.columns["image"]))
        self._labels = split_labels(rows)
        self.report = Report(self.name, looked=Counter(rows=len(rows)))
        if self._labels:
            self.report.note(kinds.UNSPLIT, self._labels.count(""))
        # Of each sample its id, its row, and its number among the row's pairs of turns.
        self._ids: list[str] = []
        self._row_of, self._turns = array("q"), array("q")
        self._bad: set[int] = set()
        self._look_through(self._identities(given="id" in columns))
        if check_pictures:
            self._decode_pictures()
        if self.report and not skip_bad:
            raise BadData(self.report)
        if not self._row_of and not self.report:
            raise PcvrError(f"{self.name} holds no samples ({self.report.noted()}): give other rows.")
        if not self._row_of:
            raise BadData(self.report, "no usable entry is left: correct them")

    def __getitem__(self, index: int, /) -> Sample:
        place = position(index, len(self))
        row = self._row_of[place]
        image = self._picture(row)
        sample = self._texts[row].samples[self._turns[place]]
        if isinstance(sample, EntryError):
            raise PcvrError(f"row {row} of {self.name} has changed since the table was opened: open it again.")
        prompt = sample.prompt or get_task(self._task).prompt or ""
        talk: dict[str, Any] = {"system": sample.system, "later": sample.later}
        return Sample(self._ids[place], image, prompt, sample.answer, sample.references, **talk)

    @property
    def conversational(self) -> bool:
        return bool(self._read_as)

    def fingerprint(self) -> str:
        """Return a hash of the table's own fingerprint, the columns, the task and the rows that are left out."""
        left_out = sorted(self._bad) if self._bad else ""
        content = (
            f"{self.rows._fingerprint} {sorted(self.columns.items(), key=str)} {self._task}{left_out}{self._read_as}"
        )
        return hashlib.sha256(content.encode()).hexdigest()[:16]

    def _split_keys(self) -> Iterable[str]:
        column = next((each for each in OF_PICTURES if each in self.rows.column_names), None)
        keys = self._identities() if column is None else [str(value).rpartition("/")[2] for value in self.rows[column]]
        return (keys[row] for row in self._row_of)

    def _identities(self, given: bool = False) -> list[str]:
        """Return an id for each row; ids of images that repeat get the row's number as a suffix."""
        column = self.columns["id"]
        if column is None:
            return [str(row) for row in range(len(self.rows))]
        name = named(self.rows.features[column])
        ids = [str(row if value in (None, "") else name(value)) for row, value in enumerate(self.rows[column])]
        if not given and column not in OF_ROWS and len(set(ids)) < len(ids):
            return [f"{name}-{row}" for row, name in enumerate(ids)]
        return ids

    def _look_through(self, ids: list[str]) -> None:
        """Make a sample of each row, or of each pair of its turns; report the problems."""
        unique, pictures = Unique(), self._pictures.counts()
        for start in range(0, len(self.rows), _AT_ONCE):
            for row, texts in enumerate(self._texts.batch(start, _AT_ONCE), start):
                count = int(pictures[row])
                if count > 1 or texts.several or (not count and not texts.pictured):
                    self.report.note(kinds.SEVERAL if count or texts.several else kinds.TEXT_ONLY)
                    continue
                name = unique(ids[row])
                self.report.note(kinds.REPEATED, name != ids[row])
                self.report.notes += texts.notes
                where = f"row {row} ({name!r})" if self.columns["id"] else f"row {row}"
                for turn, sample in enumerate(texts.samples):
                    if isinstance(sample, EntryError):
                        self._problem(row, sample.kind, where, str(sample))
                    elif count == 1:
                        if sample.system or sample.later:
                            self._read_as = f" {self._texts.turns}"
                        self._ids.append(unique(f"{name}#{turn + 1}") if turn else name)
                        self._row_of.append(row)
                        self._turns.append(turn)
                if not count:
                    self._problem(row, kinds.MISSING, where, "it has no image")

    def _decode_pictures(self) -> None:
        unreadable: dict[int, bool] = {}
        for place, row in enumerate(checking(self._row_of)):
            if row in unreadable:
                continue
            try:
                self._picture(row)
                unreadable[row] = False
            except PcvrError as error:
                unreadable[row] = True
                where = f"row {row} ({self._ids[place]!r})" if self.columns["id"] else f"row {row}"
                self._problem(row, kinds.UNREADABLE, where, str(error))
        kept = [place for place, row in enumerate(self._row_of) if not unreadable[row]]
        self._ids = [self._ids[place] for place in kept]
        self._turns = array("q", (self._turns[place] for place in kept))
        self._row_of = array("q", (self._row_of[place] for place in kept))

    def _problem(self, row: int, kind: str, where: str, what: str) -> None:
        self.report.add(kind, where, what)
        self._bad.add(row)

    def _picture(self, row: int) -> Image:
        try:
            return self._pictures[row]
        except (PcvrError, *UNREADABLE) as error:
            raise PcvrError(f"row {row} of {self.name} has no usable image: {error}") from error
