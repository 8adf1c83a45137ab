"""The rows that readers of files collect: one a sample, in compact columns, with a mark for unusable rows."""

from __future__ import annotations

import json
from array import array
from collections.abc import Iterable, Mapping, Sequence
from operator import itemgetter
from typing import Any

import numpy as np

from pcvr.data.report import BROKEN, DUPLICATE, REPEATED, UNSPLIT, EntryError, Report
from pcvr.data.texts import Groups, Texts, encoded


class Records:
    """Samples with the names of their images instead of pixels, about 500 bytes each with five captions.

    An empty prompt means the task's own, an empty answer one of the references in turn, no references the answer alone.

    Attributes:
        report: report of the problems.
        noun: its word for an entry: ``"record"``.
        references: acceptable answers by row; call its ``sort`` after the last one.
        pictures: file names of the images.
        splits: the split of each row; empty for files without splits.
    """

    def __init__(self, report: Report, noun: str) -> None:
        self.report = report
        self.noun = noun
        self.pictures = Texts()
        self.references = Groups()
        self.splits: list[str] = []
        self._ids, self._prompts, self._answers, self._facts = Texts(), Texts(), Texts(), Texts()
        self._talks = Texts()
        self._numbers = array("Q")
        self._bad = bytearray()
        self._unique = Unique()

    def __len__(self) -> int:
        return len(self._bad)

    def label(self, number: int, identity: Any = None) -> str:
        """Return the report's name of an entry: ``"record 3 ('cat-1')"``."""
        if identity is None or identity == "":
            return f"{self.noun} {number}"
        text = repr(identity)
        return f"{self.noun} {number} ({text if len(text) < 80 else text[:77] + '...'})"

    def identity(self, given: Any) -> str:
        """Return an entry's id as text; it must be new.

        Raises:
            EntryError: it is neither text nor an integer, or an earlier entry has it.
        """
        name = identity(given)
        if name in self._unique.seen:
            raise EntryError(DUPLICATE, f"the id {name!r} appears more than once")
        self._unique.seen.add(name)
        return name

    def unique(self, given: str) -> str:
        """Return `given`, or ``given~2`` and so on if an earlier entry has it; the report notes that."""
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
        system: str = "",
        later: Sequence[tuple[str, str]] = (),
        bad: bool = False,
    ) -> int:
        """Add a row and return its index.

        Args:
            number: index of the entry in its file.
            identity: from :meth:`identity`.
            picture: file name of the image, not searched for yet.
            prompt: the prompt.
            answer: the label.
            references: acceptable answers.
            facts: facts about the image.
            system: text of the system turn.
            later: the exchanges after the first.
            bad: whether a problem is reported already; the image is still searched for.

        Raises:
            EntryError: a text has no UTF-8 form; then nothing is added.
        """
        try:
            facts_json = json.dumps(facts) if facts else ""
        except (RecursionError, ValueError) as error:
            raise EntryError(BROKEN, f"the facts cannot be kept as JSON ({error})") from error
        talk = json.dumps([system, list(later)]) if system or later else ""
        # Encode all texts before the first column grows: a row is added whole or not at all.
        texts = [encoded(text) for text in (identity, picture, prompt, answer, facts_json, talk)]
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
        """Report a problem with a row; the row is no longer usable."""
        self.report.add(kind, self.label_of(row), what)
        self.spoil(row)

    def spoil(self, row: int) -> None:
        """Mark a row as unusable without a report."""
        self._bad[row] = 1

    def label_of(self, row: int) -> str:
        """Return the report's name of the row's entry."""
        return self.label(self._numbers[row], self._ids[row])

    def usable(self) -> np.ndarray:
        """Return the indices of the usable rows, int32, ascending."""
        return np.flatnonzero(np.frombuffer(self._bad, np.uint8) == 0).astype(np.int32)

    def entries(self) -> dict[str, int]:
        """Return the index of the entry that each usable row comes from, by the row's id."""
        return {self._ids[row]: self._numbers[row] for row in self.usable().tolist()}

    def _columns(self) -> tuple[Texts, ...]:
        return self._ids, self.pictures, self._prompts, self._answers, self._facts, self._talks

    def sort(self) -> None:
        """Make the rows readable, after the last one was added; drop the splits if no row states one."""
        self.references.sort(len(self))
        without = self.splits.count("")
        if without == len(self.splits):
            self.splits.clear()
        elif without:
            self.report.note(UNSPLIT, without)

    def done(self) -> None:
        """Free the memory that only reading needed."""
        self._unique = Unique()

    def texts(self, row: int) -> tuple[str, str, str, tuple[str, ...]]:
        """Return id, prompt, answer and references of a row, as stored."""
        return self._ids[row], self._prompts[row], self._answers[row], self.references[row]

    def talk(self, row: int) -> tuple[str, tuple[tuple[str, str], ...]]:
        """Return the text of a row's system turn, and the exchanges after the first."""
        if not (stored := self._talks[row]):
            return "", ()
        system, later = json.loads(stored)
        return system, tuple((prompt, answer) for prompt, answer in later)

    @property
    def conversational(self) -> bool:
        """Whether any row has a system turn or later exchanges."""
        return self._talks.size > 0

    def facts(self, row: int) -> dict[str, Any]:
        """Return the facts about the row's image."""
        facts = self._facts[row]
        return json.loads(facts) if facts else {}


def identity(given: Any) -> str:
    """Return an id as text.

    Raises:
        EntryError: it is neither text nor an integer.
    """
    if type(given) is int:  # the usual case
        return str(given)
    if not isinstance(given, str) or not given:
        raise EntryError(BROKEN, f"id is {given!r}, not a text or a whole number")
    return given


class Unique:
    """Makes ids unique, deterministically: ``a``, ``a~2``, ``a~3``.

    Attributes:
        seen: the ids that were returned.
    """

    def __init__(self) -> None:
        self.seen: set[str] = set()
        self._next: dict[str, int] = {}  # avoids quadratic time for many records with one id

    def __call__(self, given: str) -> str:
        """Return `given` the first time, then ``given~2`` and so on."""
        name = given
        if given in self.seen:
            number = self._next.get(given, 2)
            while (name := f"{given}~{number}") in self.seen:
                number += 1
            self._next[given] = number + 1
        self.seen.add(name)
        return name


class Members:
    """Takes the values of at least two keys from a JSON value of any type."""

    def __init__(self, *keys: str) -> None:
        self._keys = keys
        self._take = itemgetter(*keys)

    def __call__(self, entry: Any) -> tuple[Any, ...]:
        """Return the values, in the order of the keys.

        Raises:
            EntryError: it is not an object, or lacks a key.
        """
        try:
            return self._take(entry)
        except (KeyError, TypeError):
            pass
        if not isinstance(entry, dict):
            raise EntryError(BROKEN, f"a {type(entry).__name__} where an object with {', '.join(self._keys)} belongs")
        raise EntryError(BROKEN, f"no {', '.join(key for key in self._keys if key not in entry)}")
