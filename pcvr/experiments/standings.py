"""Where each defence of the main table stands: attack success, clean answers and time, with intervals.

Nothing is pooled: an interval belongs to one run, and each seed is kept. A row is judged by its worst attack, among the
attacks that took without a defence.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from statistics import mean, median
from typing import TYPE_CHECKING, Any

from pcvr.errors import PcvrError
from pcvr.evaluation.seeds import SeedRates
from pcvr.experiments.access import Access, access_of
from pcvr.experiments.study.compare import comparisons
from pcvr.experiments.study.plan import plan_of
from pcvr.experiments.study.sheets import CellOfRuns, Sheet, sheets_of
from pcvr.experiments.study.statistics import Paired, paired
from pcvr.experiments.whole_study import main_table, origin, shipped
from pcvr.tasks import TASKS
from pcvr.utils.checks import check_choice

if TYPE_CHECKING:
    from pcvr.experiments.study.store import Store

ORIGINS = ("ours", "its paper", "tuned")
"""Where the settings of a row are from; see `pcvr.experiments.whole_study.origin`."""


@dataclass(frozen=True)
class Outcome:
    """One defence under one attack.

    Attributes:
        attack: name of the attack.
        took: whether the attack took without a defence; None if that was not run.
        rates: attack success by seed; None if it was not run.
        kept: correct clean answers minus those without a defence, for each seed that both have.
        time: seconds of the training relative to no defence; None if one of the two lacks them.
        answer_time: seconds of an answer relative to no defence.
    """

    attack: str
    took: bool | None
    rates: SeedRates | None
    kept: tuple[Paired, ...] = ()
    time: float | None = None
    answer_time: float | None = None

    @property
    def counts(self) -> bool:
        """Whether it was run, and its attack took."""
        return self.rates is not None and self.took is True

    @property
    def loss(self) -> float | None:
        """Correct clean answers lost, mean over seeds, as a fraction of all; below 0 for a gain."""
        return -mean(each.difference for each in self.kept) if self.kept else None


@dataclass(frozen=True)
class Standing:
    """One row of the table.

    Attributes:
        row: label of the defence.
        origin: one of `ORIGINS`.
        access: what it needs.
        outcomes: one for each attack that is planned.
    """

    row: str
    origin: str
    access: Access
    outcomes: tuple[Outcome, ...]

    @property
    def counted(self) -> list[Outcome]:
        """The outcomes under attacks that took."""
        return [each for each in self.outcomes if each.counts]

    @property
    def whole(self) -> bool:
        """Whether every attack was run without a defence, and the row against all that took, of which there are some.

        Only such rows can be compared by their worst attack.
        """
        known = all(each.took is not None for each in self.outcomes)
        took = [each for each in self.outcomes if each.took]
        return known and bool(took) and all(each.counts for each in took)

    @property
    def worst(self) -> Outcome | None:
        """The outcome with the highest attack success; None if nothing that counts was run."""
        return max(self.counted, key=_asr, default=None)

    @property
    def where(self) -> str:
        """Under which attack the row is worst, in words; a row without a hit is equally good under all."""
        worst = self.worst
        if worst is None or worst.rates is None:
            return ""
        return f"under {worst.attack}" if any(worst.rates.hits) else "under each attack that was run"

    @property
    def dearest(self) -> Outcome | None:
        """The outcome that loses most correct clean answers; None if that is not known."""
        return max((each for each in self.counted if each.kept), key=lambda each: each.loss or 0.0, default=None)

    @property
    def time(self) -> float | None:
        """Seconds of the training relative to no defence, median over the attacks."""
        return _median([each.time for each in self.counted])

    @property
    def answer_time(self) -> float | None:
        """Seconds of an answer relative to no defence, median over the attacks."""
        return _median([each.answer_time for each in self.counted])

    @property
    def measures(self) -> tuple[float, float, float] | None:
        """Worst attack success, worst loss of correct clean answers, and time; None if one of them is not known."""
        if not self.whole or self.worst is None or self.dearest is None or self.time is None:
            return None
        return _asr(self.worst), self.dearest.loss or 0.0, self.time


def main_sheet(task: str, store: Store | None = None) -> Sheet:
    """Return the main table of a task: every defence, six attacks and clean data; what was not run is in it too.

    Args:
        task: a task of `pcvr.TASKS`.
        store: by default the shipped one.

    Raises:
        PcvrError: an unknown task.
    """
    check_choice("task", task, list(TASKS))
    plan = plan_of((cell for cell in main_table() if cell.task == task), "main table")
    (sheet,) = sheets_of(plan, (store or shipped()).read())
    return sheet


def standings(sheet: Sheet) -> list[Standing]:
    """Return each row of a sheet with what it needs and what it achieved; a tuned row stands below its own.

    Args:
        sheet: from `main_sheet`.
    """
    attacks = [column for column in sheet.columns if sheet.attacked(column)]
    names = list(dict.fromkeys(row.removesuffix(", tuned") for row in sheet.rows))
    return [
        Standing(row, origin(row), access_of(row), tuple(_outcome(sheet, row, column) for column in attacks))
        for row in sorted(sheet.rows, key=lambda row: names.index(row.removesuffix(", tuned")))
    ]


def beats(one: Sequence[float], other: Sequence[float]) -> bool:
    """Return whether `one` is lower in some measure and not higher in any."""
    return all(a <= b for a, b in zip(one, other, strict=True)) and any(a < b for a, b in zip(one, other, strict=True))


def unbeaten(found: Sequence[Standing]) -> list[Standing]:
    """Return the rows that no other row beats in worst attack success, worst loss of clean answers, and time.

    Rows that lack a run are left out: the worst of a few attacks is not the worst of all. So is the row without a
    defence. Our choice, so that chance names no winner: attack success and losses are rounded to whole per cent, times
    to tenths, and a gain of correct answers counts as no loss.
    """
    measured = {
        each.row: (round(100 * asr), round(100 * max(0.0, loss)), round(10 * time))
        for each in found
        if each.row != "none" and each.measures is not None
        for asr, loss, time in [each.measures]
    }
    best = {row for row, mine in measured.items() if not any(beats(other, mine) for other in measured.values())}
    return [each for each in found if each.row in best]


@dataclass(frozen=True)
class Duel:
    """One row against another, over the attacks that took.

    Attributes:
        other: the other row.
        lower: attacks under which `row` has the lower attack success, beyond chance (Holm over the attacks, 5 %).
        higher: attacks under which it has the higher one.
        open: attacks under which the difference may be chance.
    """

    other: str
    lower: tuple[str, ...]
    higher: tuple[str, ...]
    open: tuple[str, ...]

    def __str__(self) -> str:
        parts = [f"{name} under {', '.join(who)}" for name, who in
                 (("lower", self.lower), ("higher", self.higher), ("undecided", self.open)) if who]  # fmt: skip
        return f"against {self.other}: {'; '.join(parts)}"


def duels(sheet: Sheet, row: str = "pcvr") -> list[Duel]:
    """Return `row` against every other row that shares a run with it under an attack that took.

    Args:
        sheet: from `main_sheet`.
        row: label of a defence.

    Raises:
        PcvrError: the sheet has no such row.
    """
    check_choice("row", row, sheet.rows)
    took = {sheet.columns[column] for column in sheet.columns if sheet.took(column)}
    found: dict[str, dict[str, list[str]]] = {}
    for each in comparisons(sheet, row):
        if each.attack not in took:
            continue
        signs = {_sign(pair.difference) for pair in each.pairs}
        decided = each.adjusted < 0.05 and len(signs) == 1 and signs != {0}
        where = ("lower" if signs == {-1} else "higher") if decided else "open"
        found.setdefault(each.other, {}).setdefault(where, []).append(each.attack)
    return [
        Duel(other, *(tuple(parts.get(where, ())) for where in ("lower", "higher", "open")))
        for other, parts in found.items()
    ]


def progress(sheet: Sheet) -> str:
    """Return how much of a sheet was run, and which attacks took, as a sentence for the reader."""
    planned = sum(len(cell.planned) for cell in sheet.cells.values())
    run = planned - sum(len(cell.lacking) for cell in sheet.cells.values())
    columns = [column for column in sheet.columns if sheet.attacked(column)]
    said = Counter({True: "took", False: "did not take", None: "not run"}[sheet.took(column)] for column in columns)
    attacks = ", ".join(f"{count} {word}" for word, count in said.items())
    return f"{run} of {planned} planned runs for each defence are in the store. Attacks without a defence: {attacks}."


def _asr(outcome: Outcome) -> float:
    return outcome.rates.mean if outcome.rates else -1.0


def _outcome(sheet: Sheet, row: str, column: tuple[Any, ...]) -> Outcome:
    cell, plain = sheet.at(row, column), sheet.undefended(column)
    name, took = sheet.columns[column], sheet.took(column)
    if cell is None or cell.rates is None:
        return Outcome(name, took, None)
    ratio: Callable[[str], float | None] = partial(_ratio, cell, plain)
    return Outcome(name, took, cell.rates, _kept(cell, plain), ratio("seconds"), ratio("answer_seconds"))


def _kept(cell: CellOfRuns, plain: CellOfRuns | None) -> tuple[Paired, ...]:
    """The difference of correct clean answers for each seed of both; runs that kept no outcomes make no pair."""
    others = {run["seed"]: run for run in plain.runs} if plain else {}
    if cell is plain:
        return tuple(Paired(int(run["tests"]), 0, 0, (0.0, 0.0), 1.0) for run in cell.runs)
    found = []
    for run in cell.runs:
        if run["seed"] in others:
            try:
                found.append(paired(run, others[run["seed"]], "right"))
            except PcvrError:
                continue
    return tuple(found)


def _ratio(cell: CellOfRuns, plain: CellOfRuns | None, column: str) -> float | None:
    """The mean of a column relative to that without a defence."""
    ours, theirs = (part.mean(column) if part else None for part in (cell, plain))
    return ours / theirs if ours is not None and theirs else None


def _median(values: Sequence[float | None]) -> float | None:
    found = [value for value in values if value is not None]
    return median(found) if found else None


def _sign(value: float) -> int:
    return (value > 0) - (value < 0)
