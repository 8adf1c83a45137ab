"""Compact storage of many short texts: a third of the memory of a list of strings."""

from __future__ import annotations

from array import array

import numpy as np

from pcvr.data.report import BROKEN, EntryError


class Texts:
    """A list of texts in one block of UTF-8 bytes, plus eight bytes a text for its end."""

    __slots__ = ("_bytes", "_ends")

    def __init__(self) -> None:
        self._bytes = bytearray()
        self._ends = array("Q")

    def append(self, text: str) -> None:
        """Add `text` at the end.

        Raises:
            EntryError: it has no UTF-8 form: JSON can write half a surrogate pair, but no tokenizer takes it.
        """
        self._bytes += text.encode() if text.isascii() else encoded(text)
        self._ends.append(len(self._bytes))

    def append_bytes(self, text: bytes) -> None:
        """Add a text that :func:`encoded` made."""
        self._bytes += text
        self._ends.append(len(self._bytes))

    def __len__(self) -> int:
        return len(self._ends)

    @property
    def size(self) -> int:
        """Bytes of all texts together."""
        return len(self._bytes)

    def __getitem__(self, index: int) -> str:
        """Return the text at `index`, from 0 up."""
        end = self._ends[index]
        return self._bytes[self._ends[index - 1] if index else 0 : end].decode()


class Groups:
    """Any number of texts a row, added in any order."""

    def __init__(self) -> None:
        self.texts = Texts()
        self.owners = array("q")
        self._starts = np.zeros(1, np.int64)
        self._order: np.ndarray | None = None

    def append(self, owner: int, text: str) -> None:
        """Add a text to row `owner`.

        Raises:
            EntryError: it has no UTF-8 form.
        """
        self.texts.append(text)
        self.owners.append(owner)

    def sort(self, rows: int, renamed: np.ndarray | None = None) -> None:
        """Make :meth:`__getitem__` ready, after the last text was added.

        Args:
            rows: number of rows.
            renamed: int64 ``[owners]``, the row of each owner so far; -1 leaves out its texts.
        """
        owners = np.frombuffer(self.owners, np.int64) if self.owners else np.zeros(0, np.int64)
        if renamed is not None:
            owners = renamed[owners]
        if (np.diff(owners) < 0).any():
            # Stable: the texts of a row keep the order of the file.
            self._order = np.argsort(owners, kind="stable").astype(np.int32)
            owners = owners[self._order]
        self._starts = np.searchsorted(owners, np.arange(rows + 1))
        self.owners = array("q")

    def counts(self) -> np.ndarray:
        """Return the number of texts of each row, int64 ``[rows]``."""
        return np.diff(self._starts)

    def __getitem__(self, row: int) -> tuple[str, ...]:
        """Return the texts of `row`, in the order they were added."""
        places = range(int(self._starts[row]), int(self._starts[row + 1]))
        if self._order is None:
            return tuple(self.texts[place] for place in places)
        return tuple(self.texts[int(self._order[place])] for place in places)


def encoded(text: str) -> bytes:
    """Return `text` as UTF-8.

    Raises:
        EntryError: it has no UTF-8 form.
    """
    try:
        return text.encode()
    except UnicodeEncodeError as error:
        raise EntryError(BROKEN, f"the text {text[:40]!r} holds half a surrogate pair, no character") from error
