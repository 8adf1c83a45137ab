"""Tables with splits: a dictionary of tables, or a table with a split column."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pcvr.data.columns import plain_rows, split_labels
from pcvr.data.llama_factory import named_files
from pcvr.data.pictures import LFS_POINTER
from pcvr.data.sample import Dataset
from pcvr.data.split import canonical, own_splits
from pcvr.data.stream import refuse_pointer
from pcvr.data.table import HubTable
from pcvr.data.turns import TOGETHER
from pcvr.errors import PcvrError

if TYPE_CHECKING:
    from datasets import Dataset as Rows

_Part = tuple[str, list[int] | None]
"""Name of a table, and the rows that are taken of it; None for all."""


def open_table(
    spec: Any,
    split: str | None,
    task: str | None = None,
    *,
    prefer: str = "train",
    skip_bad: bool = False,
    check_pictures: bool = False,
    turns: str = TOGETHER,
) -> Dataset:
    """Open a table, a dictionary of tables, or the folder of either.

    Args:
        spec: the table, or a folder that ``save_to_disk`` wrote.
        split: the split: by the table's ``split`` column, else by the dictionary's key, else by hash. None: `prefer`
            for tables with splits, else all rows.
        task: a key of :data:`pcvr.tasks.TASKS`.
        prefer: the default split of tables with splits.
        skip_bad: leave out rows with problems, and keep the report.
        check_pictures: decode every image now.
        turns: how conversations are read, as of `HubTable`.

    Raises:
        BadData: rows have problems, unless `skip_bad`.
        PcvrError: the folder holds no table, or there is no such split.
    """
    tables = _tables(spec)
    held: dict[str, list[_Part]] = {}
    for key, rows in tables.items():
        for label, places in _places(key, rows).items():
            held.setdefault(label, []).append((key, places))
    options: dict[str, Any] = {"skip_bad": skip_bad, "check_pictures": check_pictures, "turns": turns}
    if [*held] == [""]:
        return HubTable(tables[""], task, **options).split("all" if split is None else split)
    wanted = prefer if split is None else split
    if wanted == "all":
        return _opened(tables, [(key, None) for key in tables], task, **options)
    counts = {
        label: sum(len(tables[key]) if places is None else len(places) for key, places in parts)
        for label, parts in held.items()
    }
    chosen = own_splits(wanted, counts, "the table")
    parts = [part for label, parts in held.items() if label in chosen for part in parts]
    return _opened(tables, parts, task, split=canonical(wanted), **options)


def _opened(tables: Mapping[str, Rows], parts: list[_Part], task: str | None, **options: Any) -> HubTable:
    """Open parts of tables as one; it knows where its rows come from."""
    found = HubTable(_joined([(tables[key], places) for key, places in parts]), task, **options)
    found.tables = tables
    found.parts = [(key, range(len(tables[key])) if places is None else places) for key, places in parts]
    return found


def is_table(spec: Any) -> bool:
    """Return whether `spec` is a ``datasets`` object or a folder of one, without importing the library."""
    if isinstance(spec, Path):
        there = any((spec / mark).is_file() for mark in ("dataset_info.json", "dataset_dict.json"))
        return there and not named_files(spec)
    return type(spec).__module__.partition(".")[0] == "datasets"


def _tables(spec: Any) -> Mapping[str, Rows]:
    """Return the tables by name; a single table has the name ``""``."""
    from datasets import DatasetDict, load_from_disk

    if isinstance(spec, Path):
        try:
            spec = load_from_disk(str(spec))
        except (OSError, ValueError, KeyError) as error:
            for file in filter(Path.is_file, spec.rglob("*")):
                with file.open("rb") as stream:
                    refuse_pointer(file, stream.read(len(LFS_POINTER)))
            raise PcvrError(
                f"{spec} cannot be read as a folder of datasets' save_to_disk ({error}): save the table again."
            ) from error
    if not isinstance(spec, DatasetDict):
        return {"": plain_rows(spec)}
    if not spec:
        raise PcvrError("the dictionary of tables is empty: give at least one table.")
    return {str(key): plain_rows(rows) for key, rows in spec.items()}


def _places(key: str, rows: Rows) -> dict[str, list[int] | None]:
    """Return the rows of each split of a table; None for all rows."""
    labels = split_labels(rows)
    if not labels:
        return {key: None}
    found: dict[str, list[int] | None] = {}
    for place, label in enumerate(labels):
        if label:
            found.setdefault(label, []).append(place)  # type: ignore[union-attr]
    return found


def _joined(parts: list[tuple[Rows, list[int] | None]]) -> Rows:
    from datasets import concatenate_datasets

    tables = [rows if places is None else rows.select(places) for rows, places in parts]
    if len(tables) == 1:
        return tables[0]
    try:
        return concatenate_datasets(tables)
    except (ValueError, TypeError) as error:
        raise PcvrError(f"the splits of the table have different columns ({error}): give one of them alone.") from error
