"""What readers of files collect: one row a sample in compact columns, and which rows cannot be used and why."""

from __future__ import annotations

import json
from array import array
from collections.abc import Iterable, Mapping
from operator import itemgetter
from typing import Any

import numpy as np

from pcvr.data.report import BROKEN, DUPLICATE, REPEATED, UNSPLIT, EntryError, Report
from pcvr.data.texts import Groups, Texts, encoded


class Records:
    """Samples without their pictures, about 500 bytes each with five captions; the pictures are names.

    An empty prompt stands for the task's own, an empty answer for one of the references in turn, no references for the
    answer alone.

    Attributes:
        report: where problems go.
        noun: what an entry is called in it: ``"record"``.
        references: acceptable answers by row; call its ``sort`` after the last one.
        pictures: names of files.
        splits: for files that say it, the split of each row, else empty.
    """

    def __init__(self, report: Report, noun: str) -> None:
        self.report = report
        self.noun = noun
        self.pictures = Texts()
        self.references = Groups()
        self.splits: list[str] = []
        self._ids, self._prompts, self._answers, self._facts = Texts(), Texts(), Texts(), Texts()
        self._numbers = array("Q")
        self._bad = bytearray()
        self._unique = Unique()

    def __len__(self) -> int:
        return len(self._bad)

    def label(self, number: int, identity: Any = None) -> str:
        """An entry as the report names it: ``"record 3 ('cat-1')"``."""
        if identity is None or identity == "":
            return f"{self.noun} {number}"
        said = repr(identity)
        return f"{self.noun} {number} ({said if len(said) < 80 else said[:77] + '...'})"

    def identity(self, given: Any) -> str:
        """An entry's id as text, which no entry before had.

        Raises:
            EntryError: it is neither text nor a whole number, or stands more than once.
        """
        name = identity(given)
        if name in self._unique.seen:
            raise EntryError(DUPLICATE, f"the id {name!r} stands more than once")
        self._unique.seen.add(name)
        return name

    def unique(self, given: str) -> str:
        """`given`, or ``given~2`` and so on where an entry before has it: it is noted, and both entries stay."""
        name = self._unique(given)
        if name != given:
            self.report.note(REPEATED)
        return name

    def add(
        self,
        number: int,
        identity: str,
        picture: str,
        *,
        prompt: str = "",
        answer: str = "",
        references: Iterable[str] = (),
        facts: Mapping[str, Any] | None = None,
        bad: bool = False,
    ) -> int:
        """Add a row and return its index.

        Args:
            number: the entry's place in its file.
            identity: from :meth:`identity`.
            picture: a file's name, not looked for yet.
            prompt: what is asked.
            answer: what is to be said.
            references: acceptable answers.
            facts: what is true of the picture.
            bad: whether a problem with it is known already; its picture is then still looked for.

        Raises:
            EntryError: a text has no UTF-8 form; nothing is added then.
        """
        try:
            said = json.dumps(facts) if facts else ""
        except (RecursionError, ValueError) as error:
            raise EntryError(BROKEN, f"the facts cannot be kept as JSON ({error})") from error
        # All are encoded before the first column grows.
        texts = [encoded(text) for text in (identity, picture, prompt, answer, said)]
        acceptable = list(references)
        for text in acceptable:
            encoded(text)
        row = len(self)
        for column, block in zip(self._columns(), texts, strict=True):
            column.append_bytes(block)
        for text in acceptable:
            self.references.append(row, text)
        self._numbers.append(number)
        self._bad.append(bad)
        return row

    def problem(self, row: int, kind: str, what: str) -> None:
        """Note a problem with a row that has been added; it is not usable any more."""
        self.report.add(kind, self.label_of(row), what)
        self.spoil(row)

    def spoil(self, row: int) -> None:
        """Take a row as not usable without a word."""
        self._bad[row] = 1

    def label_of(self, row: int) -> str:
        """The row's entry as the report names it."""
        return self.label(self._numbers[row], self._ids[row])

    def usable(self) -> np.ndarray:
        """Indices of the rows without a problem, int32, ascending."""
        return np.flatnonzero(np.frombuffer(self._bad, np.uint8) == 0).astype(np.int32)

    def _columns(self) -> tuple[Texts, ...]:
        return self._ids, self.pictures, self._prompts, self._answers, self._facts

    def sort(self) -> None:
        """Make the rows ready to be read, after the last one; where no row has a split, there are none."""
        self.references.sort(len(self))
        without = self.splits.count("")
        if without == len(self.splits):
            self.splits.clear()
        elif without:
            self.report.note(UNSPLIT, without)

    def done(self) -> None:
        """Let go of what only reading needed."""
        self._unique = Unique()

    def texts(self, row: int) -> tuple[str, str, str, tuple[str, ...]]:
        """Id, prompt, answer and references of a row, as stored."""
        return self._ids[row], self._prompts[row], self._answers[row], self.references[row]

    def facts(self, row: int) -> dict[str, Any]:
        """What is known to be true of the row's picture."""
        said = self._facts[row]
        return json.loads(said) if said else {}


def identity(given: Any) -> str:
    """An id as text.

    Raises:
        EntryError: it is neither text nor a whole number.
    """
    if type(given) is int:  # nearly always
        return str(given)
    if not isinstance(given, str) or not given:
        raise EntryError(BROKEN, f"id is {given!r}, not a text or a whole number")
    return given


class Unique:
    """Makes ids unique in the order they come: ``a``, ``a~2``, ``a~3``; the same ids always come out the same.

    Attributes:
        seen: the ids given out.
    """

    def __init__(self) -> None:
        self.seen: set[str] = set()
        self._next: dict[str, int] = {}  # so that a thousand records of one id are not a million tries

    def __call__(self, given: str) -> str:
        """`given` itself the first time."""
        name = given
        if given in self.seen:
            number = self._next.get(given, 2)
            while (name := f"{given}~{number}") in self.seen:
                number += 1
            self._next[given] = number + 1
        self.seen.add(name)
        return name


class Members:
    """Takes the values of some keys, at least two, out of an object from JSON, which may be anything."""

    def __init__(self, *keys: str) -> None:
        self._keys = keys
        self._take = itemgetter(*keys)

    def __call__(self, entry: Any) -> tuple[Any, ...]:
        """The values, in the order of the keys.

        Raises:
            EntryError: it is no object, or has not all of the keys.
        """
        try:
            return self._take(entry)
        except (KeyError, TypeError):
            pass
        if not isinstance(entry, dict):
            raise EntryError(BROKEN, f"a {type(entry).__name__} where an object with {', '.join(self._keys)} belongs")
        raise EntryError(BROKEN, f"no {', '.join(key for key in self._keys if key not in entry)}")
