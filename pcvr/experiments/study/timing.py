"""How long the rest of a study takes: estimated from measured seconds of like cells, not from the mean of all."""

from __future__ import annotations

import heapq
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Any

from pcvr.experiments.experiment import Experiment

Kind = tuple[Any, ...]
"""What decides the seconds of a cell."""


@dataclass(frozen=True)
class TimeLeft:
    """An estimate of what is left.

    Attributes:
        seconds: of the cells whose kind was measured, on as many processes as are at work.
        unmeasured: cells of kinds that were not measured yet; their seconds are not in `seconds`.
    """

    seconds: float
    unmeasured: int = 0

    def __str__(self) -> str:
        if not self.unmeasured:
            return f"about {in_words(self.seconds)}"
        cells = "1 cell is" if self.unmeasured == 1 else f"{self.unmeasured} cells are"
        known = f"at least {in_words(self.seconds)}: " if self.seconds else "not known yet: "
        return f"{known}{cells} of kinds not measured yet"


def in_words(seconds: float) -> str:
    """Return a duration as a person would say it, with two figures at most."""
    if seconds < 59.5:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"


def kinds_of(cell: Experiment) -> list[Kind]:
    """Return what to look a cell's seconds up by, the closest likeness first.

    Cells of a kind have the same defence, task, model, data, steps and sizes; the first kind also has the options.
    """
    size = (cell.max_steps, cell.num_train_epochs, cell.batch_size, cell.samples, cell.tests, cell.watch > 0)
    like = (cell.defense, cell.task, cell.model, cell.data, *size)
    return [(*like, json.dumps(cell.options, sort_keys=True, default=str)), like]


@dataclass
class Clock:
    """Measured seconds by kind of cell.

    Attributes:
        jobs: cells at a time.
        past: seconds of earlier calls under the same set-up; as machines of a kind differ, they are scaled by what this
            call measures.
    """

    jobs: int = 1
    past: dict[Kind, list[float]] = field(default_factory=dict)
    _now: dict[Kind, list[float]] = field(default_factory=dict)
    _ratios: list[float] = field(default_factory=list)

    def remember(self, cells: Iterable[tuple[Experiment, float]]) -> None:
        """Take the seconds of earlier calls."""
        for cell, seconds in cells:
            _note(self.past, cell, seconds)

    def saw(self, cell: Experiment, seconds: float) -> None:
        """Take the seconds of a cell that this call has finished."""
        before = _look_up(self.past, cell)
        if before:
            self._ratios.append(seconds / before)
        _note(self._now, cell, seconds)

    def expected(self, cell: Experiment) -> float | None:
        """Return the median seconds of like cells; None where none was measured."""
        here = _look_up(self._now, cell)
        if here is not None:
            return here
        before = _look_up(self.past, cell)
        return None if before is None else before * (median(self._ratios) if self._ratios else 1.0)

    def left(self, waiting: Sequence[Experiment], running: Mapping[str, tuple[Experiment, float]]) -> TimeLeft:
        """Return how long the rest takes.

        Args:
            waiting: the cells to come, in their order.
            running: the cells at work, each with the seconds since it began.
        """
        guesses = [(self.expected(cell), spent) for cell, spent in running.values()]
        later = [self.expected(cell) for cell in waiting]
        unmeasured = sum(guess is None for guess, _ in guesses) + later.count(None)
        busy = [max(0.0, (guess or 0.0) - spent) for guess, spent in guesses]
        ends = busy + [0.0] * (self.jobs - len(busy))
        heapq.heapify(ends)
        for guess in later:  # the next cell goes to the process that is free first
            heapq.heapreplace(ends, ends[0] + (guess or 0.0))
        return TimeLeft(max(ends, default=0.0), unmeasured)


def _note(kept: dict[Kind, list[float]], cell: Experiment, seconds: float) -> None:
    for kind in kinds_of(cell):
        kept.setdefault(kind, []).append(seconds)


def _look_up(kept: Mapping[Kind, list[float]], cell: Experiment) -> float | None:
    return next((median(kept[kind]) for kind in kinds_of(cell) if kind in kept), None)
