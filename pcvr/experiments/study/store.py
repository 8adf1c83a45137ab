"""The store of a study: each run's Record is a line of one file, written by one process, never changed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pcvr.errors import PcvrError, shown
from pcvr.experiments.study.frame import frame_of
from pcvr.experiments.study.journal import Appender, Entry, appending, read_entries, without_collection
from pcvr.utils.files import as_path
from pcvr.utils.places import check_place

if TYPE_CHECKING:
    import pandas as pd

NEEDED = ("key", "experiment", "record", "seconds", "setup")
"""What every Record has; ``outcomes``, ``gate``, ``wall`` and others may come with them."""
_LEAST = 4  # digits of a key that name a Record


@dataclass(frozen=True)
class Store:
    """The runs of a study, in a folder.

    ``records.jsonl`` has a Record a line: what `pcvr.experiments.run_experiment` returns, with ``wall`` (seconds of the
    whole cell, loading and evaluation included) and ``setup`` (``made_by``, ``date``, ``versions``, ``device``,
    ``cores``, ``threads`` of torch, ``jobs`` at a time, ``backend``, ``machine``). A line ``{"withdrawn": key, ...}``
    takes an earlier Record out. ``failures.jsonl`` has the cells that failed, with their tracebacks.

    Attributes:
        folder: made when something is first written.
    """

    folder: Path

    def __post_init__(self) -> None:
        object.__setattr__(self, "folder", as_path(self.folder, "the store"))

    @property
    def file(self) -> Path:
        """The Records."""
        return self.folder / "records.jsonl"

    @property
    def side_file(self) -> Path:
        """The failures."""
        return self.folder / "failures.jsonl"

    def records(self) -> list[Entry]:
        """Return all Records, in the order in which they were finished.

        Raises:
            PcvrError: the file cannot be read, or a line of it is not a Record.
        """
        return list(_standing(read_entries(self.file), self.file).values())

    def read(self) -> pd.DataFrame:
        """Return a row for each Record, in the order in which they were finished; columns as `frame_of` says."""
        with without_collection():
            return frame_of(self.records())

    def find(self, cell: str) -> Entry:
        """Return the Record that `cell` names: its key, the beginning of its key, or the label of the only one.

        Raises:
            PcvrError: there is none, or more than one.
        """
        records = self.records()
        found = [r for r in records if len(cell) >= _LEAST and r["key"].startswith(cell)]
        found = found or [r for r in records if r["experiment"].get("label") == cell]
        if len(found) == 1:
            return found[0]
        if not found:
            raise PcvrError(f"the store {self.folder} has no cell {shown(cell)}: give a key that --list shows.")
        keys = ", ".join(r["key"] for r in found[:5]) + (", ..." if len(found) > 5 else "")
        raise PcvrError(f"{shown(cell)} names {len(found)} cells of the store {self.folder}: give one of {keys}.")

    def failures(self) -> dict[str, Entry]:
        """Return the last failure of each cell, by key; also of cells that have been made since."""
        return {entry["key"]: entry for entry in read_entries(self.side_file)}

    def check(self) -> None:
        """Raise unless the store can be read and written; call it before the work.

        Raises:
            PcvrError: naming what is in the way.
        """
        self.records()
        check_place(self.folder, own=lambda _: True)

    @contextmanager
    def writing(self) -> Iterator[Writer]:
        """Yield the store's writer; there is one at a time.

        Raises:
            PcvrError: another process is writing the store, or it cannot be written or read.
        """
        with appending(self.file) as records, appending(self.side_file) as failures:
            yield Writer(records, failures)


class Writer:
    """Adds to a store: see `Store.writing`.

    Attributes:
        keys: of the Records that the store has.
        records: these Records, as they were when the store was opened.
        mended: what was done about torn lines, a sentence each.
    """

    def __init__(self, records: Appender, failures: Appender) -> None:
        self._records, self._failures = records, failures
        self.records = list(_standing(records.entries, records.file).values())
        self.keys = {record["key"] for record in self.records}
        self.mended = [said for said in (records.mended, failures.mended) if said]

    def add(self, record: Mapping[str, Any]) -> None:
        """Append a Record; when this returns, it is on the disk.

        Raises:
            PcvrError: the store has a Record with this key, something is missing, or it cannot be written.
        """
        lacking = [name for name in NEEDED if name not in record]
        if lacking:
            raise PcvrError(f"a Record needs {', '.join(NEEDED)}: this one lacks {', '.join(lacking)}.")
        if record["key"] in self.keys:
            raise PcvrError(f"the store has the cell {record['key']} already: withdraw it first to make it again.")
        self._records.append(record)
        self.keys.add(record["key"])

    def withdraw(self, key: str, why: str) -> None:
        """Take a Record out, so that its cell is made again; its line stays in the file.

        Raises:
            PcvrError: there is no such Record, or no reason is given.
        """
        if key not in self.keys:
            raise PcvrError(f"the store has no cell {shown(key)} to withdraw: give a key that --list shows.")
        if not why.strip():
            raise PcvrError("a Record is withdrawn for a reason: say why in a few words.")
        self._records.append({"withdrawn": key, "why": why, "date": datetime.now(UTC).isoformat(timespec="seconds")})
        self.keys.remove(key)

    def failed(self, entry: Mapping[str, Any]) -> None:
        """Append a failure to the side file: ``key``, ``experiment``, ``error``, ``traceback``, ``date``, ``setup``."""
        self._failures.append(entry)


def _standing(entries: list[Entry], file: Path) -> dict[str, Entry]:
    """The Records that were not withdrawn, by key."""
    found: dict[str, Entry] = {}
    for number, entry in enumerate(entries, 1):
        if "withdrawn" in entry:
            found.pop(entry["withdrawn"], None)
        elif not entry.keys() >= {*NEEDED}:
            raise PcvrError(f"line {number} of {file} is not a Record: take the file from a copy, or remove the line.")
        elif entry["key"] in found:
            raise PcvrError(f"line {number} of {file} has a cell for the second time: remove one of its two lines.")
        else:
            found[entry["key"]] = entry
    return found
