"""A list of records, such as a Trainer of one's own is given, as a table of `datasets`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image as PilImage

from pcvr.data.columns import USUAL
from pcvr.errors import PcvrError, reason, shown

if TYPE_CHECKING:
    from datasets import Dataset as Rows


def as_table(records: Sequence[Mapping[str, Any]]) -> Rows:
    """Return records as a table; its images are Pillow images, arrays or paths, one a record or a list of them.

    Paths are those of files here, relative to the working directory; they are read when a sample is.

    Raises:
        PcvrError: a path is an address, or the records do not fit in one table.
    """
    import datasets

    rows = [dict(record) for record in records]
    columns = [name for name in USUAL["image"] if any(name in row for row in rows)]
    for number, row in enumerate(rows):
        for name in columns:
            if name in row:
                row[name] = _pictures(row[name], f"{name} of record {number}")
    try:
        table = datasets.Dataset.from_list(rows)
        for name in columns:
            several = any(isinstance(row.get(name), list) for row in rows)
            table = table.cast_column(name, datasets.List(datasets.Image()) if several else datasets.Image())
    except Exception as error:  # of pyarrow and datasets, of many kinds
        raise PcvrError(
            f"the records do not fit in one table ({reason(error)}): give each key values of one type, or write the "
            "records to a JSON file and give its path."
        ) from error
    return table


def _pictures(given: Any, where: str) -> Any:
    """Return images in a form that `datasets` encodes."""
    if isinstance(given, list | tuple):
        return [_pictures(each, where) for each in given]
    if isinstance(given, str) and "://" in given:
        raise PcvrError(f"{where} is {shown(given)}: give the path of a file, since nothing is fetched here.")
    if isinstance(given, np.ndarray):
        if given.dtype != np.uint8 or given.ndim != 3 or given.shape[-1] != 3:
            raise PcvrError(f"{where} is {given.dtype} {list(given.shape)}: give uint8 [H, W, 3].")
        return PilImage.fromarray(given)
    return str(given) if isinstance(given, Path) else given
