"""One lesson for each source in ``workbook/``: its exercises, and the minutes that it takes."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from bookkit.exercises import Exercise, find_exercises
from bookkit.front import measured, minutes_of_reading
from bookkit.source import Source, read_source, sources, title

PREDICTION_MINUTES = 0.5
"""To think before a result is shown, for each "Predict before you run"."""
TRIAL_MINUTES = 1.0
"""For each item of a list of things to try with a widget."""

_CARD = re.compile(r"<!--\s*card\b(.*?)-->", re.DOTALL)
_NUMBER = re.compile(r"^\d+[a-z]?_")


@dataclass(frozen=True)
class Minutes:
    """The time that a learner needs for a notebook, by what it is spent on.

    Attributes:
        reading: prose, code and figures, as the notebook itself counts them.
        predicting: questions before a result.
        trying: things to try with a widget.
        exercises: the sum of the exercises' cards.
        waiting: while cells run, as measured; None if it was not measured.
    """

    reading: float
    predicting: float
    trying: float
    exercises: float
    waiting: float | None

    @property
    def total(self) -> float:
        """All of it; what was not measured counts as nothing."""
        return self.reading + self.predicting + self.trying + self.exercises + (self.waiting or 0)


@dataclass(frozen=True)
class Lesson:
    """A notebook as the course sees it.

    Attributes:
        source: the notebook's source.
        exercises: by the position of their cell.
        cards: difficulty, importance and minutes of each exercise, by the name of its check.
        seconds: how long its cells ran when that was measured; None if it was not.
        root: the checkout.
    """

    root: Path
    source: Source
    exercises: dict[int, Exercise]
    cards: dict[str, dict[str, int]]
    seconds: float | None

    @property
    def name(self) -> str:
        """The file's stem, ``"02_poisoning"``."""
        return self.source.name

    @property
    def number(self) -> str:
        """What comes before the first underscore, ``"02"``."""
        return self.name.partition("_")[0]

    @property
    def topic(self) -> str:
        """The stem without its number: the name of quiz and notes, which a change of order does not touch."""
        return _NUMBER.sub("", self.name)

    @property
    def title(self) -> str:
        """The notebook's level-one heading."""
        return title(self.source.cells)

    @property
    def minutes(self) -> Minutes:
        """The time that a learner needs."""
        prose = "\n".join(cell.text for cell in self.source.cells if cell.kind == "markdown")
        tried = re.findall(r"(?:Try this|Things to try|\bTry this:)[^\n]*\n(?:\n?(?:- |\d+\. |  )[^\n]*\n?)+", prose)
        items = sum(len(re.findall(r"^(?:- |\d+\. )", part, re.M)) for part in tried)
        return Minutes(
            minutes_of_reading(self.source),
            PREDICTION_MINUTES * len(re.findall(r"\*\*Predict", prose)),
            TRIAL_MINUTES * items,
            float(sum(card["minutes"] for card in self.cards.values())),
            None if self.seconds is None else self.seconds / 60,
        )


def lessons(root: Path) -> list[Lesson]:
    """Return the lessons of a checkout in reading order.

    Raises:
        SourceError: a source breaks a rule.
    """
    seconds = measured(root)
    return [_lesson(root, read_source(path), seconds) for path in sources(root / "workbook")]


def _lesson(root: Path, source: Source, seconds: Mapping[str, float]) -> Lesson:
    found = find_exercises(source.cells)
    cards = {}
    for position, exercise in found.items():
        above = next(c.text for c in reversed(source.cells[:position]) if c.kind == "markdown" and _CARD.search(c.text))
        card = _CARD.findall(above)[-1]
        cards[exercise.check] = {key: int(value) for key, value in (pair.split("=") for pair in card.split())}
    return Lesson(root, source, found, cards, seconds.get(source.name))
