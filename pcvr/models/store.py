"""A cache of encoded samples: in memory up to a budget, then in a file up to another budget."""

from __future__ import annotations

import os
import shutil
import tempfile
import weakref
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

Row = dict[str, Tensor]

KEEP_BYTES = 512 * 2**20
"""Memory budget in bytes for encoded samples, and separately for tower features."""
SPILL_BYTES = 64 * 2**30
"""Size limit in bytes of the scratch file for the rest; half of the free space is a limit too."""


@dataclass
class RowStore:
    """Keeps rows of tensors of any shapes; a stored row is never dropped, and is returned equal to the bit.

    The scratch file has no name, so it disappears with the process. It is in ``TMPDIR``, else in ``/var/tmp``, which is
    on disk while ``/tmp`` may be in memory. It is not memory-mapped: mapped pages count as the process's memory.

    Attributes:
        keep_bytes: memory budget in bytes.
        spill_bytes: disk budget in bytes.
        held: bytes in memory.
        spilled: bytes on disk.
    """

    keep_bytes: int = KEEP_BYTES
    spill_bytes: int = SPILL_BYTES
    held: int = 0
    spilled: int = 0
    _rows: dict[int, Row] = field(default_factory=dict)
    _places: dict[int, list[tuple[str, torch.dtype, torch.Size, int]]] = field(default_factory=dict)
    _file: int | None = None  # descriptor
    _closing: Any = None

    def __contains__(self, index: int) -> bool:
        return index in self._rows or index in self._places

    def in_memory(self, index: int) -> bool:
        """Return whether the row is in memory."""
        return index in self._rows

    def put(self, index: int, row: Row) -> None:
        """Store `row`, if there is room and it is not stored yet."""
        if index in self:
            return
        size = row_bytes(row)
        if self.held + size <= self.keep_bytes:
            self._rows[index] = row
            self.held += size
        elif self.spilled + size <= self._room():
            self._write(index, row)

    def move_out(self, indices: Iterable[int]) -> None:
        """Move rows from memory to the scratch file, as far as there is room."""
        for index in indices:
            row = self._rows.get(index)
            if row is None or self.spilled + row_bytes(row) > self._room():
                continue
            self._write(index, row)
            if index in self._places:
                self.held -= row_bytes(self._rows.pop(index))

    def get(self, index: int) -> Row | None:
        """Return the row at `index`, or None if it is not stored."""
        if index in self._rows:
            return self._rows[index]
        if index not in self._places or self._file is None:
            return None
        row = {}
        for name, dtype, shape, start in self._places[index]:
            count = shape.numel() * dtype.itemsize
            read = bytearray(os.pread(self._file, count, start))
            row[name] = torch.frombuffer(read, dtype=dtype).view(shape) if count else torch.empty(shape, dtype=dtype)
        return row

    def close(self) -> None:
        """Release the scratch file; rows in memory stay."""
        if self._closing is not None:
            self._closing()
        self._file, self.spilled = None, 0
        self._places.clear()

    def _room(self) -> int:
        if self._file is None and self.spill_bytes:
            try:
                folder = scratch_folder()
                self.spill_bytes = min(self.spill_bytes, shutil.disk_usage(folder).free // 2)
                self._file, path = tempfile.mkstemp(prefix="pcvr-rows-", dir=folder)
                self._closing = weakref.finalize(self, os.close, self._file)
                os.unlink(path)
            except OSError:
                self.spill_bytes = 0
        return self.spill_bytes

    def _write(self, index: int, row: Row) -> None:
        assert self._file is not None
        place, places = self.spilled, []
        try:
            for name, value in row.items():
                content = value.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()
                done = 0
                while done < len(content):
                    done += os.pwrite(self._file, content[done : done + 2**30], place + done)
                places.append((name, value.dtype, value.shape, place))
                place += len(content)
        except OSError:  # the disk is full: spill no more rows
            self.spill_bytes = self.spilled
            return
        self._places[index], self.spilled = places, place


def row_bytes(row: Mapping[str, Tensor]) -> int:
    """Return the size of a row's tensors in bytes."""
    return sum(value.numel() * value.element_size() for value in row.values())


def scratch_folder() -> str:
    """Return the folder for large scratch files."""
    common = "/var/tmp"
    usable = os.path.isdir(common) and os.access(common, os.W_OK | os.X_OK)
    return common if usable and not os.environ.get("TMPDIR") else tempfile.gettempdir()
