"""Ids that two lists of a file share, numbered in the order of first mention in either list."""

from __future__ import annotations

from array import array
from typing import Any

from pcvr.data.records import identity
from pcvr.data.report import EntryError

# In place of a row: the id has no entry (yet), or its entry is unusable.
UNKNOWN, SPOILT = -1, -2


class Slots:
    """A slot for each id: 0, 1, 2 ... in the order of first mention; 9 and "9" are the same id.

    Attributes:
        rows: by slot, the row of the id's sample, or one of the two marks above.
    """

    def __init__(self) -> None:
        self.rows = array("q")
        self._of: dict[int | str, int] = {}

    def __len__(self) -> int:
        return len(self.rows)

    def of(self, given: Any) -> tuple[int, bool]:
        """Return the slot of an id, and whether it is new.

        Raises:
            EntryError: the id is neither text nor an integer.
        """
        key = given if type(given) is int else plain(given)
        slot = self._of.get(key)
        if slot is not None:
            return slot, False
        slot = self._of[key] = len(self.rows)
        self.rows.append(UNKNOWN)
        return slot, True

    def spoil(self, given: Any) -> None:
        """Mark the id of an unusable entry, unless it is not an id, or an earlier entry has it."""
        try:
            slot, _ = self.of(given)
        except EntryError:
            return
        if self.rows[slot] == UNKNOWN:
            self.rows[slot] = SPOILT

    def names(self) -> list[int | str]:
        """Return the id of each slot."""
        return list(self._of)


def plain(given: Any) -> int | str:
    """Return an id; a text that is an integer's becomes that integer.

    Raises:
        EntryError: it is neither text nor an integer.
    """
    name = identity(given)
    digits = name.removeprefix("-")
    return int(name) if digits.isascii() and digits.isdigit() and len(name) < 20 and str(int(name)) == name else name
