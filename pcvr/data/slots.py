"""Ids that two lists of a file share: numbers for them in the order of first mention, whichever list comes first."""

from __future__ import annotations

from array import array
from typing import Any

from pcvr.data.records import identity
from pcvr.data.report import EntryError

# What stands for the row of an id that the list of entries does not have (yet), and of one that cannot be used.
UNKNOWN, SPOILT = -1, -2


class Slots:
    """A slot for each id: 0, 1, 2 ... as they come; 9 and "9" are the same id.

    Attributes:
        rows: by slot, the row of the samples that the id belongs to, or one of the two marks above.
    """

    def __init__(self) -> None:
        self.rows = array("q")
        self._of: dict[int | str, int] = {}

    def __len__(self) -> int:
        return len(self.rows)

    def of(self, given: Any) -> tuple[int, bool]:
        """The slot of an id, and whether it is a new one.

        Raises:
            EntryError: it is neither text nor a whole number.
        """
        key = given if type(given) is int else _plain(given)
        slot = self._of.get(key)
        if slot is not None:
            return slot, False
        slot = self._of[key] = len(self.rows)
        self.rows.append(UNKNOWN)
        return slot, True

    def spoil(self, given: Any) -> None:
        """Mark the id of an entry that cannot be used, unless it is no id, or an entry before had it."""
        try:
            slot, _ = self.of(given)
        except EntryError:
            return
        if self.rows[slot] == UNKNOWN:
            self.rows[slot] = SPOILT

    def names(self) -> list[int | str]:
        """The id that each slot stands for."""
        return list(self._of)


def _plain(given: Any) -> int | str:
    """An id; one that is written as text and is the text of a whole number as that number."""
    name = identity(given)
    digits = name.removeprefix("-")
    return int(name) if digits.isascii() and digits.isdigit() and len(name) < 20 and str(int(name)) == name else name
