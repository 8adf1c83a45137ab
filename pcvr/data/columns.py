"""The roles of a table's columns, and their values as texts."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from sys import intern
from typing import TYPE_CHECKING, Any

from pcvr.data.turns import KEYS
from pcvr.errors import PcvrError
from pcvr.utils.checks import check_choice

if TYPE_CHECKING:
    from datasets import Dataset as Rows

_REPLIES = ("references", "answers", "answer")
_CAPTIONS = ("captions", "caption", "sentences", "text", "raw")
USUAL: Mapping[str, tuple[str, ...]] = {
    "image": ("image", "img", "picture", "images"),
    "answers": ("references", *_CAPTIONS[:2], "answers", "answer", *_CAPTIONS[2:], "multiple_choice_answer"),
    "label": ("multiple_choice_answer", "answer"),
    "prompt": ("prompt", "question", "query"),
    "conversations": KEYS,
    "id": ("id", "question_id", "image_id", "imgid", "cocoid", "filename", "file_name", "image_name", "img_id"),
}
"""Role to the column names of published captioning and question data; the first name that exists is used."""

OF_ROWS = ("id", "question_id")
"""The id columns that are unique to a row; the others may be ids of images, with several rows each."""

OF_PICTURES = ("filename", "file_name", "image_name", "image_id", "img_id", "imgid", "cocoid")
"""Columns that identify a row's image; the file name first, since files are split by it too."""

SPLIT = "split"
"""The column with each row's split."""

_TEXTS = ("answer", "raw", "caption", "text")


def plain_rows(rows: Any) -> Rows:
    """Return a table without the format that ``with_format`` gave it.

    Raises:
        PcvrError: it is not a table, streams, or has a transform.
    """
    from datasets import Dataset, IterableDataset, IterableDatasetDict

    if isinstance(rows, IterableDataset | IterableDatasetDict):
        raise PcvrError(
            f"the table streams ({type(rows).__name__}), but samples are read by their index: load it without "
            "streaming=True, or keep some rows with datasets.Dataset.from_list(list(rows.take(1000)), rows.features)."
        )
    if not isinstance(rows, Dataset):
        raise PcvrError(f"the table is a {type(rows).__name__}: give a datasets.Dataset, or a DatasetDict of them.")
    form = rows.format
    if form["type"] == "custom":
        raise PcvrError(
            "the table has a transform (with_transform, set_transform), which would not be applied: apply it with "
            "rows.map(...), or give rows.with_format(None) for the stored rows."
        )
    changed = form["type"] is not None or set(form["columns"]) != set(rows.column_names)
    return rows.with_format(None) if changed else rows


def find_columns(rows: Rows, given: Mapping[str, str]) -> dict[str, str | None]:
    """Return the column of each role, by its usual name or as `given`; None for roles without a column.

    With questions, human answers take precedence over captions. The label is a separate column with the answer to
    train on, beside a list of references.

    Raises:
        PcvrError: `given` has an unknown role or names a missing column.
    """
    for what, column in given.items():
        check_choice("column", what, USUAL)
        check_choice(f"{what} column", column, rows.column_names)
    found = {what: _first(names, rows) for what, names in USUAL.items()} | dict(given)
    if found["prompt"] and "answers" not in given:
        found["answers"] = _first(_REPLIES, rows) or found["answers"]
    if "label" not in given and (found["answers"] not in _REPLIES[:2] or found["label"] == found["answers"]):
        found["label"] = None
    if found["answers"]:
        found["conversations"] = given.get("conversations")
    return found


def task_of(rows: Rows, columns: Mapping[str, str | None]) -> str:
    """Return the task of a table if the user names none: human answers are mappings, captions are texts."""
    answers = columns["answers"]
    if answers is None or columns["prompt"] is None:
        return "caption"
    value = rows.select_columns([answers])[0][answers]
    first = value[0] if isinstance(value, list) and value else value
    mapped = isinstance(first, Mapping) and "answer" in first
    return "vqa" if mapped or columns["label"] == "multiple_choice_answer" else "caption"


def check_columns(rows: Rows, columns: Mapping[str, str | None], asks: bool) -> None:
    """Raise unless a table has all columns that are needed.

    Args:
        rows: the table.
        columns: column of each role.
        asks: whether the table has to hold the questions.

    Raises:
        PcvrError: naming the missing role and the table's columns.
    """
    texts = () if columns["conversations"] else ("answers", *(("prompt",) if asks else ()))
    for what in ("image", *texts):
        if columns[what] is None:
            raise PcvrError(
                f"the table has no {what} column (it has: {', '.join(rows.column_names)}): give {what}='its name'."
            )


def named(feature: Any) -> Callable[[Any], Any]:
    """Return a function that replaces class numbers by their names, in lists and mappings too."""
    from datasets import ClassLabel, LargeList, List, Sequence

    if isinstance(feature, ClassLabel):
        return lambda value: None if value is None or value < 0 else feature.int2str(int(value))
    if isinstance(feature, List | LargeList | Sequence):
        inner = named(feature.feature)
        return lambda value: value if value is None else [inner(each) for each in value]
    if isinstance(feature, Mapping):
        parts = {key: named(part) for key, part in feature.items()}
        return lambda value: value if value is None else {key: parts[key](part) for key, part in value.items()}
    return lambda value: value


def split_labels(rows: Rows) -> list[str]:
    """Return the split of each row by the table's own column, ``""`` if it states none; empty without a column."""
    if SPLIT not in rows.column_names:
        return []
    name = named(rows.features[SPLIT])
    labels = [intern("" if value is None else str(name(value))) for value in rows.select_columns([SPLIT])[:][SPLIT]]
    return labels if any(labels) else []


def texts_of(value: Any) -> list[Any]:
    """Return the texts in a text, a list of texts, or a list of mappings such as ``{"answer": text}``."""
    if isinstance(value, Mapping):  # some releases of datasets give a list of mappings as a mapping of lists
        value = _text_in(value)
    many = value if isinstance(value, list | tuple) else [value]
    return [text or "" for text in (_text_in(each) if isinstance(each, Mapping) else each for each in many)]


def _text_in(value: Mapping[str, Any]) -> Any:
    return next((value[key] for key in _TEXTS if value.get(key) is not None), None)


def _first(names: tuple[str, ...], rows: Rows) -> str | None:
    return next((name for name in names if name in rows.column_names), None)
