"""Reader of Hugging Face ``datasets`` tables: an object, or a folder that ``save_to_disk`` wrote.

Which column is what is found by name, the usual ones first, and can be said instead. Rows stay on disk (Arrow, memory
mapped) until asked for.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pcvr.data.llava_json import TASKS
from pcvr.data.pictures import UNREADABLE, rgb_array
from pcvr.data.sample import Dataset, Sample
from pcvr.data.scenes.language import CAPTION_PROMPT
from pcvr.data.split import split_by_key
from pcvr.data.subset import position
from pcvr.errors import PcvrError, unknown_name

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


class HubTable:
    """A ``datasets.Dataset`` as a :class:`~pcvr.data.sample.Dataset`.

    The answers' column holds a text, a list of texts, or a list of mappings with an ``"answer"`` (as VQAv2 has); the
    first is what the model is trained to say, all are references. Pictures come as uint8 ``[H, W, 3]`` RGB.
    """

    def __init__(self, rows: Rows, task: str = "caption", **columns: str) -> None:
        """
        Args:
            rows: the table.
            task: ``"caption"`` or ``"vqa"``; a question column is needed for the latter.
            columns: names of columns that are not found by themselves: ``image=``, ``answers=``, ``prompt=``, ``id=``.

        Raises:
            PcvrError: unknown task or column, no picture or answer column, an empty table.
        """
        if task not in TASKS:
            raise unknown_name("task", task, TASKS)
        for what, column in columns.items():
            if what not in USUAL:
                raise unknown_name("column", what, USUAL)
            if column not in rows.column_names:
                raise unknown_name(f"{what} column", column, rows.column_names)
        if len(rows) == 0:
            raise PcvrError("the table has no rows: give at least one.")
        self.rows, self._task = rows, task
        found = {what: next((n for n in names if n in rows.column_names), None) for what, names in USUAL.items()}
        self.columns: dict[str, str | None] = {**found, **columns}
        needed = ("image", "answers", "prompt") if task == "vqa" else ("image", "answers")
        for what in needed:
            if self.columns[what] is None:
                raise PcvrError(
                    f"the table has no {what} column (it has: {', '.join(rows.column_names)}): say {what}='its name'."
                )
        identity = self.columns["id"]
        self._ids = range(len(rows)) if identity is None else [str(value) for value in rows[identity]]

    @property
    def name(self) -> str:
        return f"table:{self.rows.info.dataset_name or 'rows'}"

    @property
    def task(self) -> str:
        return self._task

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int, /) -> Sample:
        place = position(index, len(self))
        try:
            row = self.rows[place]
            image = rgb_array(_picture(row[self.columns["image"]]))
        except (PcvrError, *UNREADABLE) as error:
            raise PcvrError(f"row {place} of {self.name} has no usable picture: {error}") from error
        answers = _texts(row[self.columns["answers"]])
        if not answers:
            raise PcvrError(f"row {place} of {self.name} has no answer: drop it, or name another answers column.")
        prompt = row[self.columns["prompt"]] if self.columns["prompt"] else CAPTION_PROMPT
        return Sample(str(self._ids[place]), image, str(prompt), answers[0], answers)

    def fingerprint(self) -> str:
        """A hash of the table's own fingerprint, which changes with its content, and of the columns read."""
        said = f"{self.rows._fingerprint} {sorted(self.columns.items(), key=str)} {self._task}"
        return hashlib.sha256(said.encode()).hexdigest()[:16]

    def split(self, name: str) -> Dataset:
        """About 80 % train, 10 % validation, 10 % test by a hash of the row's id; ``"all"`` is the whole.

        Raises:
            PcvrError: for an unknown split, or one that holds no row.
        """
        return split_by_key(self, map(str, self._ids), name)


def open_table(spec: Any, split: str, task: str) -> Dataset:
    """A table, one split of a dictionary of tables, or the folder of either.

    Raises:
        PcvrError: the folder holds none, or there is no such split.
    """
    from datasets import DatasetDict, load_from_disk

    if isinstance(spec, Path):
        try:
            spec = load_from_disk(str(spec))
        except (OSError, ValueError, KeyError) as error:
            raise PcvrError(f"{spec} is no folder that datasets' save_to_disk wrote ({error}).") from error
        if not isinstance(spec, DatasetDict):
            return HubTable(spec, task).split(split)
    if isinstance(spec, DatasetDict):
        return HubTable(_member(spec, split), task)
    return HubTable(spec, task)


def is_table(spec: Any) -> bool:
    """Whether `spec` is a ``datasets`` object or a folder of one; says so without importing the library."""
    if isinstance(spec, Path):
        return any((spec / mark).is_file() for mark in ("dataset_info.json", "dataset_dict.json"))
    return type(spec).__module__.partition(".")[0] == "datasets"


def _member(tables: DatasetDict, split: str) -> Rows:
    if split in tables:
        return tables[split]
    raise unknown_name("split", split, tables)


def _picture(value: Any) -> Any:
    from PIL import Image, ImageOps

    if not isinstance(value, Image.Image):
        raise PcvrError(f"a {type(value).__name__} where a picture belongs: cast the column to datasets.Image().")
    return ImageOps.exif_transpose(value)


def _texts(value: Any) -> tuple[str, ...]:
    """A text, a list of texts, or a list of ``{"answer": text}``, without empty ones."""
    many = value if isinstance(value, list | tuple) else [value]
    texts = [each.get("answer") if isinstance(each, Mapping) else each for each in many]
    return tuple(text.strip() for text in texts if isinstance(text, str) and text.strip())
