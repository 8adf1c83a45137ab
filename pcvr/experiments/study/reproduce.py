"""Make one cell of a store again, and compare: the test of a result that anyone can run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from pcvr.errors import PcvrError
from pcvr.experiments.outcomes import unpack
from pcvr.experiments.study.frame import frame_of
from pcvr.experiments.study.store import Store
from pcvr.experiments.study.tables import experiment_of, machine_of
from pcvr.experiments.study.worker import Run, run_cell, work

POINTS = 0.02
"""Allowed difference of a fraction of right answers between two machines; hits are equal. One thread, 400 steps."""
MEASURED = {"threads": 1, "max_steps": 400}
"""What the tolerance was measured for: one torch thread, at most 400 steps."""


@dataclass(frozen=True)
class Figure:
    """One figure, then and now.

    Attributes:
        name: what it is.
        before: in the store; None if it is not there.
        now: made again.
        allowed: greatest difference that counts as the same; None for figures that are shown and not judged.
    """

    name: str
    before: float | None
    now: float | None
    allowed: float | None

    @property
    def good(self) -> bool | None:
        """Whether the two agree; None where that is not judged."""
        if self.allowed is None or self.before is None or self.now is None:
            return None
        return abs(self.before - self.now) <= self.allowed + 1e-9


@dataclass(frozen=True)
class Reproduction:
    """A cell made again.

    Attributes:
        key: of the cell.
        label: its row.
        figures: then and now.
        other_samples: of each outcome, how many test samples came out otherwise; empty where the store kept none.
        other_setup: what differs in versions and set-up, as ``{name: (then, now)}``.
        notes: what limits the comparison, a sentence each.
    """

    key: str
    label: str
    figures: tuple[Figure, ...]
    other_samples: Mapping[str, int]
    other_setup: Mapping[str, tuple[Any, Any]]
    notes: tuple[str, ...]

    @property
    def good(self) -> bool:
        """Whether every figure that is judged agrees."""
        return all(figure.good is not False for figure in self.figures)


def reproduce(store: Store, cell: str, run: Run = run_cell) -> Reproduction:
    """Make a cell again in this process, with as many torch threads as then; nothing is written.

    Args:
        store: has the cell.
        cell: see `Store.find`.
        run: runs it.

    Raises:
        PcvrError: the store has no such cell, or it could not be made again.
    """
    before = store.find(cell)
    experiment = experiment_of(before)
    threads = int(before["setup"].get("threads") or 1)
    now = work(run, experiment, threads, {})
    if "error" in now:
        raise PcvrError(f"the cell {before['key']} could not be made again: {now['error']}.")
    return compared(before, now)


def compared(before: Mapping[str, Any], now: Mapping[str, Any]) -> Reproduction:
    """Compare two Records of the same cell."""
    one, other = frame_of([before]).to_dict("records")[0], frame_of([now]).to_dict("records")[0]
    judged: dict[str, float | None] = {"hits": 0.0, "right": POINTS, "triggered_right": POINTS}
    shown = [
        "clean_hits",
        *(name for name in one if name.startswith("clean_") and name not in ("clean_hits", "clean_asr")),
    ]
    figures = [
        Figure(name.replace("_", " "), _number(one.get(name)), _number(other.get(name)), allowed)
        for name, allowed in (judged | dict.fromkeys(shown)).items()
    ]
    return Reproduction(
        before["key"],
        one["label"],
        tuple(figure for figure in figures if figure.before is not None or figure.now is not None),
        _other_samples(before, now, int(one["tests"])),
        _other_setup(before["setup"], now["setup"]),
        tuple(_notes(before, now, one)),
    )


def _number(value: Any) -> float | None:
    return None if value is None or value != value else float(value)


def _other_samples(before: Mapping[str, Any], now: Mapping[str, Any], n: int) -> dict[str, int]:
    kept, made = (unpack(record.get("outcomes", {}), n) for record in (before, now))
    return {name: int(np.sum(kept[name] != made[name])) for name in kept if name in made}


def _other_setup(before: Mapping[str, Any], now: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    then, here = (
        {**setup.get("versions", {}), "machine": machine_of({**setup, "jobs": "any"})} for setup in (before, now)
    )
    return {name: (then.get(name), here.get(name)) for name in then | here if then.get(name) != here.get(name)}


def _notes(before: Mapping[str, Any], now: Mapping[str, Any], row: Mapping[str, Any]) -> list[str]:
    notes = []
    setup = before["setup"]
    threads = setup.get("threads")
    if threads is None:
        notes.append("the store does not say how many threads the cell was made with: it was made again with one")
    elif threads != MEASURED["threads"]:
        notes.append(f"the cell was made with {threads} threads; the tolerance was measured with one")
    if row["max_steps"] > MEASURED["max_steps"] or _number(row["num_train_epochs"]) is not None:
        notes.append("the cell trains longer than the 400 steps that the tolerance was measured for")
    if setup.get("device", "cpu") != now["setup"]["device"]:
        notes.append("the device is another one, for which no tolerance was measured")
    if before["key"] != now["key"]:
        notes.append("the cell's configuration has another key today: a default may have changed since")
    return notes
