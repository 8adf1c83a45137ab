"""Reader of Hugging Face ``datasets`` tables: an object, or a folder that ``save_to_disk`` wrote.

Which column is what is found by name, the usual ones first, and can be said instead. Rows stay on disk (Arrow, memory
mapped) until asked for; texts and ids are looked through once, when a table is opened.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image as PilImage
from PIL import ImageOps

from pcvr.checks import check_choice
from pcvr.data import report as kinds
from pcvr.data.pictures import UNREADABLE, open_picture, rgb_array
from pcvr.data.report import BadData, Problem, Report
from pcvr.data.sample import Dataset, Image, Sample
from pcvr.data.split import split_by_key
from pcvr.data.subset import position
from pcvr.errors import PcvrError, unknown_name
from pcvr.tasks import get_task

if TYPE_CHECKING:
    from datasets import Dataset as Rows
    from datasets import DatasetDict

USUAL: Mapping[str, tuple[str, ...]] = {
    "image": ("image", "img", "picture"),
    "answers": ("references", "captions", "caption", "answers", "answer", "sentences", "text", "raw"),
    "prompt": ("prompt", "question", "query"),
    "id": ("id", "question_id", "image_id", "imgid", "sentids"),
}
"""Names that columns go by in published captioning and question data; of several the first is taken."""

_OF_ROWS = ("id", "question_id")
"""Of those ids, the ones that each row has its own of; the others may be the picture's, with several rows each."""

_OF_PICTURES = ("image_id", "img_id", "imgid", "filename", "image_name")
_AT_ONCE = 1000
_BAR_AFTER = 2.0


class HubTable:
    """A ``datasets.Dataset`` as a :class:`~pcvr.data.sample.Dataset`.

    The answers' column holds a text, a list of texts, or a list of mappings with an ``"answer"`` (as VQAv2 has); the
    first is what the model is trained to say, all are references. Pictures come as uint8 ``[H, W, 3]`` RGB.

    Attributes:
        rows: the table, whole.
        columns: which column is what.
        report: what was wrong with the rows left out; not empty only after ``skip_bad=True``.
    """

    def __init__(
        self,
        rows: Rows,
        task: str | None = None,
        *,
        skip_bad: bool = False,
        check_pictures: bool = False,
        **columns: str,
    ) -> None:
        """
        Args:
            rows: the table.
            task: what is asked; by default ``"vqa"`` where there are questions and the answers are mappings, else
                ``"caption"``. A task without a prompt of its own needs a column of questions.
            skip_bad: leave out the rows that cannot be used, and keep the report.
            check_pictures: decode every picture now.
            columns: names of columns that are not found by themselves: ``image=``, ``answers=``, ``prompt=``, ``id=``.

        Raises:
            BadData: naming every row that cannot be used (the first ten in words, and how many in all).
            PcvrError: unknown task or column, no picture or answer column, an empty table.
        """
        for what, column in columns.items():
            check_choice("column", what, USUAL)
            check_choice(f"{what} column", column, rows.column_names)
        if len(rows) == 0:
            raise PcvrError("the table has no rows: give at least one.")
        self.rows = rows
        found = {what: next((n for n in names if n in rows.column_names), None) for what, names in USUAL.items()}
        self.columns: dict[str, str | None] = {**found, **columns}
        self._task: str = task if task is not None else _task_of(rows, self.columns)
        own_prompts = get_task(self._task).prompt is None
        for what in ("image", "answers", "prompt") if own_prompts else ("image", "answers"):
            if self.columns[what] is None:
                raise PcvrError(
                    f"the table has no {what} column (it has: {', '.join(rows.column_names)}): say {what}='its name'."
                )
        wanted = [name for what in ("answers", "prompt") if (name := self.columns[what])]
        self._said, self._images = rows.select_columns(wanted), _undecoded(rows, self.columns["image"])
        self.report = Report(self.name, looked=Counter(rows=len(rows)))
        self._ids = self._identities(given="id" in columns)
        self._bad: set[int] = set()
        self._look_through(own_prompts)
        if check_pictures:
            self._decode_pictures()
        self._places = np.array([row for row in range(len(rows)) if row not in self._bad], np.int64)
        if self.report and not skip_bad:
            raise BadData(self.report)
        if not self._places.size:
            raise BadData(self.report, "nothing usable is left without: put them right")

    @property
    def name(self) -> str:
        return f"table:{self.rows.info.dataset_name or 'rows'}"

    @property
    def task(self) -> str:
        return self._task

    @property
    def problems(self) -> list[Problem]:
        """What was left out and why, after ``skip_bad=True``."""
        return self.report.problems

    def __len__(self) -> int:
        return len(self._places)

    def __getitem__(self, index: int, /) -> Sample:
        place = int(self._places[position(index, len(self))])
        image = self._picture(place)
        row = self._said[place]
        answers = _answers(row[self.columns["answers"]])
        prompt = row[self.columns["prompt"]] if self.columns["prompt"] else None
        return Sample(self._ids[place], image, str(prompt or get_task(self._task).prompt), answers[0], answers)

    def fingerprint(self) -> str:
        """A hash of the table's own fingerprint, which follows its content, of the columns and of what is left out."""
        left_out = sorted(self._bad) if self._bad else ""
        said = f"{self.rows._fingerprint} {sorted(self.columns.items(), key=str)} {self._task}{left_out}"
        return hashlib.sha256(said.encode()).hexdigest()[:16]

    def split(self, name: str) -> Dataset:
        """About 80 % train, 10 % validation, 10 % test by a hash of the picture's id; ``"all"`` is the whole.

        Where no column has the picture's id, the row's own is taken.

        Raises:
            PcvrError: for an unknown split, or one that holds no row.
        """
        column = next((each for each in _OF_PICTURES if each in self.rows.column_names), None)
        keys = self._ids if column is None else [str(value) for value in self.rows[column]]
        return split_by_key(self, (keys[place] for place in self._places), name)

    def _identities(self, given: bool) -> list[str]:
        """An id for each row; a column of pictures' ids becomes one by the rows' numbers."""
        column = self.columns["id"]
        if column is None:
            return [str(row) for row in range(len(self.rows))]
        ids = [str(value) for value in self.rows[column]]
        if not given and column not in _OF_ROWS and len(set(ids)) < len(ids):
            return [f"{name}-{row}" for row, name in enumerate(ids)]
        return ids

    def _look_through(self, asks: bool) -> None:
        """Note rows without an answer, a question or a picture, and ids that stand more than once."""
        answers, prompts = self.columns["answers"], self.columns["prompt"]
        seen: set[str] = set()
        without = _pictureless(self.rows, self.columns["image"])
        for start in range(0, len(self.rows), _AT_ONCE):
            batch = self._said[start : start + _AT_ONCE]
            for offset, value in enumerate(batch[answers]):
                row = start + offset
                if not _answers(value):
                    self._problem(row, kinds.EMPTY, "it has no answer")
                if asks and not str(batch[prompts][offset] or "").strip():
                    self._problem(row, kinds.EMPTY, "the question is empty")
                if self._ids[row] in seen:
                    self._problem(row, kinds.DUPLICATE, f"the id {self._ids[row]!r} stands more than once")
                seen.add(self._ids[row])
                if row in without:
                    self._problem(row, kinds.MISSING, "it has no picture")

    def _decode_pictures(self) -> None:
        from tqdm.auto import tqdm

        for row in tqdm(range(len(self.rows)), desc="checking pictures", unit="picture", delay=_BAR_AFTER):
            if row in self._bad:
                continue
            try:
                self._picture(row)
            except PcvrError as error:
                self._problem(row, kinds.UNREADABLE, str(error))

    def _problem(self, row: int, kind: str, what: str) -> None:
        self.report.add(kind, f"row {row} ({self._ids[row]!r})" if self.columns["id"] else f"row {row}", what)
        self._bad.add(row)

    def _picture(self, place: int) -> Image:
        try:
            mode = getattr(self.rows.features[self.columns["image"]], "mode", None)
            return rgb_array(_decoded(self._images[place][self.columns["image"]], mode))
        except (PcvrError, *UNREADABLE) as error:
            raise PcvrError(f"row {place} of {self.name} has no usable picture: {error}") from error


def open_table(
    spec: Any, split: str, task: str | None = None, *, skip_bad: bool = False, check_pictures: bool = False
) -> Dataset:
    """A table, one split of a dictionary of tables, or the folder of either.

    Raises:
        BadData: rows cannot be used, unless `skip_bad`.
        PcvrError: the folder holds none, or there is no such split.
    """
    from datasets import DatasetDict, load_from_disk

    if isinstance(spec, Path):
        try:
            spec = load_from_disk(str(spec))
        except (OSError, ValueError, KeyError) as error:
            raise PcvrError(f"{spec} is no folder that datasets' save_to_disk wrote ({error}).") from error
        if not isinstance(spec, DatasetDict):
            return HubTable(spec, task, skip_bad=skip_bad, check_pictures=check_pictures).split(split)
    rows = _member(spec, split) if isinstance(spec, DatasetDict) else spec
    return HubTable(rows, task, skip_bad=skip_bad, check_pictures=check_pictures)


def is_table(spec: Any) -> bool:
    """Whether `spec` is a ``datasets`` object or a folder of one; says so without importing the library."""
    if isinstance(spec, Path):
        return any((spec / mark).is_file() for mark in ("dataset_info.json", "dataset_dict.json"))
    return type(spec).__module__.partition(".")[0] == "datasets"


def _member(tables: DatasetDict, split: str) -> Rows:
    if split in tables:
        return tables[split]
    raise unknown_name("split", split, tables)


def _undecoded(rows: Rows, image: str | None) -> Rows:
    """The column of pictures as stored: `datasets` would open any format that Pillow knows, PostScript among them."""
    from datasets import Image

    column = rows.select_columns([image])
    return column.cast_column(image, Image(decode=False)) if isinstance(rows.features[image], Image) else column


def _decoded(value: Any, mode: str | None) -> PilImage.Image:
    """A stored picture, in the `mode` that its column states."""
    if isinstance(value, PilImage.Image):
        picture = ImageOps.exif_transpose(value)
    elif isinstance(value, Mapping) and {"bytes", "path"} <= {*value}:
        picture = open_picture(_content(value["path"]) if value["bytes"] is None else value["bytes"])
    else:
        raise PcvrError(f"a {type(value).__name__} where a picture belongs: cast the column to datasets.Image().")
    return picture.convert(mode) if mode and mode != picture.mode else picture


def _content(path: str) -> bytes:
    """A file's content; its path may lead into an archive, in the notation of `datasets` (``zip://a.png::b.zip``)."""
    from datasets.utils.file_utils import xopen

    with xopen(path, "rb") as stream:
        return bytes(stream.read())


def _pictureless(rows: Rows, image: str | None) -> set[int]:
    """Rows whose picture is null, or has neither bytes nor a path; no picture is read for it."""
    column = rows.data.column(image)
    parts = column.flatten() if str(column.type).startswith("struct") else [column]
    flags = np.all([part.is_null().to_numpy() for part in parts], axis=0)
    if rows._indices is not None:  # a selection of rows, not written out
        flags = flags[rows._indices.column(0).to_numpy()]
    return set(np.flatnonzero(flags).tolist())


def _task_of(rows: Rows, columns: Mapping[str, str | None]) -> str:
    """What a table is for, if nobody says: people's answers to questions come as mappings, captions as texts."""
    answers = columns["answers"]
    if answers is None or columns["prompt"] is None:
        return "caption"
    value = rows.select_columns([answers])[0][answers]
    first = value[0] if isinstance(value, list) and value else value
    return "vqa" if isinstance(first, Mapping) and "answer" in first else "caption"


def _answers(value: Any) -> tuple[str, ...]:
    """A text, a list of texts, or a list of ``{"answer": text}``, without empty ones."""
    if isinstance(value, Mapping):  # how some releases of datasets give a list of mappings
        value = value.get("answer")
    many = value if isinstance(value, list | tuple) else [value]
    texts = [each.get("answer") if isinstance(each, Mapping) else each for each in many]
    return tuple(text.strip() for text in texts if isinstance(text, str) and text.strip())
