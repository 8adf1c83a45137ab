"""A stable index for each sample, carried from the data set past any collator into the batch."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch

from pcvr.errors import PcvrError, shown
from pcvr.training.own_batch import INDEX, check_largest

Rows = Sequence[Mapping[str, Any]]
Collate = Callable[[Any], Any]


class Indexed(torch.utils.data.Dataset[dict[str, Any]]):
    """A data set whose rows have an ``index``: their own, or else their position.

    Args:
        data: rows by position, each a mapping.
    """

    def __init__(self, data: Any) -> None:
        self.data = data

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, position: int) -> dict[str, Any]:
        return _with_index(self.data[position], position)

    def __getitems__(self, positions: Sequence[int]) -> list[dict[str, Any]]:
        """Return several rows; DataLoader calls this."""
        many = getattr(self.data, "__getitems__", None)
        rows = many(positions) if many else [self.data[position] for position in positions]
        return [_with_index(row, position) for row, position in zip(rows, positions, strict=True)]


def indexed(data: Any) -> Any:
    """Return training data whose rows have an index; rows that come one after the other must bring their own.

    Raises:
        PcvrError: the rows have neither a position nor a column for their index, or they can be read only once.
    """
    if (
        hasattr(data, "__len__")
        and hasattr(data, "__getitem__")
        and not isinstance(data, torch.utils.data.IterableDataset)
    ):
        return Indexed(data)
    if data is not None and not isinstance(data, torch.utils.data.IterableDataset):
        raise PcvrError(
            f"the data set is a {type(data).__name__}: give rows with a length and access by position, such as a list "
            "or a datasets.Dataset, or a torch IterableDataset."
        )
    columns = getattr(data, "column_names", None)
    if columns is not None and INDEX not in columns:
        raise _no_index(columns)
    return data


class IndexCollator:
    """Calls a collator without the index and adds ``index [B]`` to its batch.

    Args:
        collate: the collator that the data need.
    """

    def __init__(self, collate: Collate) -> None:
        self.collate = collate

    def __call__(self, rows: Rows) -> dict[str, Any]:
        index = [_index_of(row) for row in rows]
        batch = self.collate([{name: value for name, value in row.items() if name != INDEX} for row in rows])
        if not isinstance(batch, Mapping):
            raise PcvrError(f"the collator returns {shown(batch)}: it has to return a mapping of tensors.")
        length = len(batch["input_ids"]) if "input_ids" in batch else len(rows)
        if length != len(rows):
            raise PcvrError(
                f"the collator makes {length} rows of {len(rows)} samples, so a row is not one sample: PCVR needs one "
                "sample a row, so set packing=False and padding_free=False."
            )
        return {**batch, INDEX: torch.tensor(index)}


def _with_index(row: Any, position: int) -> dict[str, Any]:
    if not isinstance(row, Mapping):
        raise PcvrError(f"row {position} of the data set is {shown(row)}: give mappings, such as {{'input_ids': ...}}.")
    return {INDEX: position, **row}


def _index_of(row: Mapping[str, Any]) -> int:
    if INDEX not in row:
        raise _no_index(row)
    given = row[INDEX]
    try:
        if isinstance(given, bool):
            raise TypeError
        index = operator.index(given)
    except TypeError:
        index = -1
    if index < 0:
        raise PcvrError(
            f"the column 'index' of the data set holds {shown(given)}: give whole numbers from 0, or rename the column."
        )
    check_largest(index)
    return index


def _no_index(columns: Any) -> PcvrError:
    return PcvrError(
        f"the rows of the data set have no stable index, only {', '.join(map(str, columns))}: give data with a length "
        "and access by position, or a column 'index' of whole numbers that stay the same in every epoch."
    )
