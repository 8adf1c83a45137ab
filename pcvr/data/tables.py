"""Tables with splits: a dictionary of tables, or one whose own column says which split each row is in."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pcvr.data.columns import plain_rows, split_labels
from pcvr.data.pictures import LFS_POINTER
from pcvr.data.sample import Dataset
from pcvr.data.split import canonical, own_splits
from pcvr.data.stream import refuse_pointer
from pcvr.data.table import HubTable
from pcvr.errors import PcvrError

if TYPE_CHECKING:
    from datasets import Dataset as Rows

_Part = tuple["Rows", list[int] | None]


def open_table(
    spec: Any,
    split: str | None,
    task: str | None = None,
    *,
    prefer: str = "train",
    skip_bad: bool = False,
    check_pictures: bool = False,
) -> Dataset:
    """A table, a dictionary of tables, or the folder of either.

    Args:
        spec: the table; a folder is one that ``save_to_disk`` wrote.
        split: which split. A table's own ``split`` column decides, whatever a dictionary calls the table; else the
            dictionary does; else it is by hash. None is the whole where there are no splits, else `prefer`.
        task: what is asked.
        prefer: which split is taken if none is asked for.
        skip_bad: leave out the rows that cannot be used, and keep the report.
        check_pictures: decode every picture now.

    Raises:
        BadData: rows cannot be used, unless `skip_bad`.
        PcvrError: the folder holds none, or there is no such split.
    """
    tables = _tables(spec)
    held: dict[str, list[_Part]] = {}
    for key, rows in tables.items():
        for label, places in _places(key, rows).items():
            held.setdefault(label, []).append((rows, places))
    options: dict[str, Any] = {"skip_bad": skip_bad, "check_pictures": check_pictures}
    if [*held] == [""]:
        return HubTable(tables[""], task, **options).split("all" if split is None else split)
    wanted = prefer if split is None else split
    if wanted == "all":
        return HubTable(_joined([(rows, None) for rows in tables.values()]), task, **options)
    counts = {
        label: sum(len(rows) if places is None else len(places) for rows, places in parts)
        for label, parts in held.items()
    }
    chosen = own_splits(wanted, counts, "the table")
    parts = [part for label, parts in held.items() if label in chosen for part in parts]
    return HubTable(_joined(parts), task, split=canonical(wanted), **options)


def is_table(spec: Any) -> bool:
    """Whether `spec` is a ``datasets`` object or a folder of one; says so without importing the library."""
    if isinstance(spec, Path):
        return any((spec / mark).is_file() for mark in ("dataset_info.json", "dataset_dict.json"))
    return type(spec).__module__.partition(".")[0] == "datasets"


def _tables(spec: Any) -> Mapping[str, Rows]:
    """The tables by name; one that stands alone has none."""
    from datasets import DatasetDict, load_from_disk

    if isinstance(spec, Path):
        try:
            spec = load_from_disk(str(spec))
        except (OSError, ValueError, KeyError) as error:
            for file in filter(Path.is_file, spec.rglob("*")):
                with file.open("rb") as stream:
                    refuse_pointer(file, stream.read(len(LFS_POINTER)))
            raise PcvrError(f"{spec} is no folder that datasets' save_to_disk wrote ({error}).") from error
    if not isinstance(spec, DatasetDict):
        return {"": plain_rows(spec)}
    if not spec:
        raise PcvrError("the dictionary of tables is empty: give one with at least a table.")
    return {str(key): plain_rows(rows) for key, rows in spec.items()}


def _places(key: str, rows: Rows) -> dict[str, list[int] | None]:
    """Which rows of a table are in which split; None for all of them."""
    labels = split_labels(rows)
    if not labels:
        return {key: None}
    found: dict[str, list[int] | None] = {}
    for place, label in enumerate(labels):
        if label:
            found.setdefault(label, []).append(place)  # type: ignore[union-attr]
    return found


def _joined(parts: list[_Part]) -> Rows:
    from datasets import concatenate_datasets

    tables = [rows if places is None else rows.select(places) for rows, places in parts]
    if len(tables) == 1:
        return tables[0]
    try:
        return concatenate_datasets(tables)
    except (ValueError, TypeError) as error:
        raise PcvrError(f"the splits of the table have different columns ({error}): give one of them alone.") from error
