"""An append-only file of JSON objects, one a line, that survives a kill or a power cut at any moment."""

from __future__ import annotations

import gc
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from io import FileIO
from pathlib import Path
from typing import Any

from pcvr.errors import PcvrError
from pcvr.utils.files import cannot_write, settle
from pcvr.utils.places import alone

Entry = dict[str, Any]


def read_entries(file: Path) -> list[Entry]:
    """Return the entries of a file; none where there is no file.

    A last line without a line break is one that is being written, or was torn: it counts only if it is whole.

    Raises:
        PcvrError: the file cannot be read, or a line is not a JSON object.
    """
    try:
        content = file.read_bytes()
    except FileNotFoundError:
        return []
    except OSError as problem:
        raise PcvrError(f"{file} cannot be read ({problem.strerror}): give a store that you may read.") from problem
    *lines, last = content.split(b"\n")
    entries = _entries(lines)
    if entries is None:
        number = next((n for n, line in enumerate(lines, 1) if _entry(line) is None), 0)
        raise PcvrError(f"line {number} of {file} is not a JSON object: take the file from a copy, or remove it.")
    torn = _entry(last)
    return entries if torn is None else [*entries, torn]


def _entries(lines: list[bytes]) -> list[Entry] | None:
    """All entries at once, which is faster; None where a line is no JSON object."""
    with without_collection():
        try:
            found = json.loads(b"[" + b",".join(lines) + b"]")
        except (ValueError, RecursionError):
            return None
    good = len(found) == len(lines) and all(isinstance(entry, dict) for entry in found)
    return found if good else None


@contextmanager
def without_collection() -> Iterator[None]:
    """Hold the collector of reference cycles back: it would walk through thousands of new dictionaries in vain."""
    if not gc.isenabled():
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def _entry(line: bytes) -> Entry | None:
    try:
        value = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


class Appender:
    """Appends entries to a file that no other process is writing: see `appending`.

    Attributes:
        entries: what the file held when it was opened.
        mended: what was done about a torn last line, a sentence; empty if there was none.
    """

    def __init__(self, file: Path, stream: FileIO) -> None:
        self.file, self._stream = file, stream
        self.mended = self._mend()
        self.entries = read_entries(file)

    def _mend(self) -> str:
        """Finish the last line if only its line break is missing, else cut it off."""
        content = self.file.read_bytes()
        tail = content.rpartition(b"\n")[2]
        if not tail:
            return ""
        if _entry(tail) is not None:
            self._write(b"\n")
            return f"the last line of {self.file} lacked its end, which was added"
        self._stream.truncate(len(content) - len(tail))
        os.fsync(self._stream.fileno())
        return f"the last line of {self.file} was torn ({len(tail)} bytes of it were there) and was removed"

    def append(self, entry: Mapping[str, Any]) -> None:
        """Write one line; when this returns, the line is on the disk.

        Raises:
            PcvrError: the disk is full or not writable; the file is as before.
        """
        line = json.dumps(entry, separators=(",", ":")).encode() + b"\n"
        before = self._stream.seek(0, os.SEEK_END)
        try:
            self._write(line)
        except OSError as problem:
            self._stream.truncate(before)
            raise cannot_write(self.file, problem) from problem

    def _write(self, data: bytes) -> None:
        while data:  # a raw stream may take a part
            data = data[self._stream.write(data) :]
        os.fsync(self._stream.fileno())


@contextmanager
def appending(file: Path) -> Iterator[Appender]:
    """Yield an `Appender`, while no other process can append to the file; a torn last line is mended first.

    Raises:
        PcvrError: another process is writing the file, or it cannot be written or read.
    """
    with alone(file):
        try:
            new = not file.exists()
            stream = FileIO(file, "ab")
            if new:
                settle(file.parent)  # the folder's entry too is on the disk
        except OSError as problem:
            raise cannot_write(file, problem) from problem
        with stream:
            yield Appender(file, stream)
