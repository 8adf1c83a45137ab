"""The images of a table: read as stored bytes, and decoded like image files."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image as PilImage

from pcvr.data.pictures import open_picture, rgb_array
from pcvr.data.sample import Image
from pcvr.errors import PcvrError

if TYPE_CHECKING:
    from datasets import Dataset as Rows


class TablePictures:
    """A column of images, or of lists of one image each.

    It reads the stored bytes, since ``datasets`` would open any format that Pillow knows, PostScript among them.
    """

    def __init__(self, rows: Rows, column: str) -> None:
        """
        Args:
            rows: the table.
            column: its column of images.
        """
        feature = rows.features[column]
        self._column = column
        self._stored = rows.select_columns([column]).with_format("arrow")
        self._mode: str | None = getattr(getattr(feature, "feature", feature), "mode", None)

    def __getitem__(self, row: int) -> Image:
        """Return the image of a row, uint8 ``[H, W, 3]``.

        Raises:
            PcvrError: it is not an image.
            UNREADABLE: it cannot be decoded.
        """
        value = self._stored[int(row)].column(self._column)[0].as_py()
        picture = _decoded(value[0] if isinstance(value, list) and len(value) == 1 else value)
        return rgb_array(picture.convert(self._mode) if self._mode not in (None, picture.mode) else picture)

    def counts(self) -> np.ndarray:
        """Return the number of images of each row, int64 ``[rows]``, without reading them."""
        rows = self._stored
        column = rows.data.column(self._column)
        kind = str(column.type)
        if kind.startswith(("list", "large_list")):
            found = np.concatenate(
                [part.value_lengths().fill_null(0).to_numpy(zero_copy_only=False) for part in column.chunks]
            ).astype(np.int64)
        else:
            # A missing image is null, or has neither bytes nor a path.
            parts = column.flatten() if kind.startswith("struct") else [column]
            found = np.any([part.is_valid().to_numpy() for part in parts], axis=0).astype(np.int64)
        if rows._indices is not None:  # a selection of rows, not written out
            found = found[rows._indices.column(0).to_numpy()]
        return found


def _decoded(value: Any) -> PilImage.Image:
    if isinstance(value, bytes):
        return open_picture(value)
    if isinstance(value, Mapping) and {"bytes", "path"} <= {*value}:
        return open_picture(_content(value["path"]) if value["bytes"] is None else value["bytes"])
    raise PcvrError(f"a {type(value).__name__} where an image belongs: cast the column to datasets.Image().")


def _content(path: str) -> bytes:
    """Return a file's content; the path may lead into an archive, as `datasets` writes it (``zip://a.png::b.zip``)."""
    from datasets.utils.file_utils import xopen

    with xopen(path, "rb") as stream:
        return bytes(stream.read())
