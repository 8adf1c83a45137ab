"""The figures and words of the explorer of notebook 07, from a shipped grid and fresh points."""

from __future__ import annotations

from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING

from pcvr.errors import PcvrError
from pcvr.evaluation.intervals import format_rate
from pcvr.experiments.grid import Grid, frontier, knobs_of, name_of
from pcvr.experiments.point import Case, GridPoint, KnobValues
from pcvr.plots.explorer import point_curves, point_distributions, trade_off

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from pcvr.experiments.local_run import LocalTrainer


@dataclass(frozen=True)
class ExplorerChoice:
    """One setting of the explorer.

    Attributes:
        case: task, model and attack.
        setting: option and value of each knob.
        by: the knob that colours the dots.
    """

    case: Case
    setting: KnobValues
    by: str


class GridSource:
    """A grid, the points trained here, and the means to train more.

    Attributes:
        grid: the shipped grid.
        bench: model and data for training here, or None.
        fresh: points trained here, the latest last.
    """

    def __init__(self, grid: Grid, bench: LocalTrainer | None = None) -> None:
        """
        Raises:
            PcvrError: there is neither a point nor a bench.
        """
        if not grid.points and bench is None:
            raise PcvrError("the grid has no point and there is no bench to train one: give one of them.")
        self.grid, self.bench = grid, bench
        self.fresh: list[GridPoint] = []

    @property
    def cases(self) -> list[Case]:
        """The grid's cases, and the reader's own case."""
        own = [] if self.bench is None else [self.bench.case]
        return list(dict.fromkeys([*self.grid.cases, *own]))

    @property
    def knobs(self) -> list[str]:
        """The options that have a slider."""
        return [name for name, _ in self.grid.points[0].setting] if self.grid.points else list(knobs_of())

    def values(self, knob: str) -> list[float]:
        """Return the values of a knob in the grid, or those planned for an empty one."""
        return self.grid.values(knob) or list(knobs_of()[knob])

    def start(self) -> ExplorerChoice:
        """Return the first choice: the reader's case if the grid has it, and its first point."""
        cases = self.grid.cases or self.cases
        case = self.bench.case if self.bench is not None and self.bench.case in cases else cases[0]
        mine = self.grid.of(case).points
        setting = mine[0].setting if mine else tuple((knob, self.values(knob)[0]) for knob in self.knobs)
        return ExplorerChoice(case, setting, self.knobs[0])

    def fresh_of(self, case: Case) -> list[GridPoint]:
        """Return the points trained here in a case, the latest of each setting."""
        return list({point.setting: point for point in self.fresh if point.case == case}.values())

    def at(self, choice: ExplorerChoice) -> dict[str, GridPoint]:
        """Return the points at a choice: ``"grid"``, ``"trained here"``, both or neither."""
        shipped = self.grid.find(choice.case, choice.setting)
        found = {"grid": shipped} if shipped is not None else {}
        here = [p for p in self.fresh_of(choice.case) if dict(p.setting) == dict(choice.setting)]
        return found | ({"trained here": here[-1]} if here else {})


def trade_off_of(source: GridSource, choice: ExplorerChoice) -> Figure | None:
    """Draw the trade-off of a case with the chosen point ringed; None if the case has no points."""
    mine, fresh = source.grid.of(choice.case), source.fresh_of(choice.case)
    if not (mine.points or mine.references or fresh):
        return None
    ringed = next(iter(source.at(choice).values()), None)
    title = f"{choice.case}: one dot for each defence setting"
    return trade_off(mine.points, mine.references, fresh, ringed, choice.by, title)


def curves_of(source: GridSource, choice: ExplorerChoice) -> Figure | None:
    """Draw the training of the chosen point; None if there is none."""
    shown = source.at(choice)
    return point_curves(shown) if shown else None


def distributions_of(source: GridSource, choice: ExplorerChoice) -> Figure | None:
    """Draw the distributions of the chosen point; None if there is none."""
    shown = source.at(choice)
    return point_distributions(shown) if shown else None


def grid_caption(source: GridSource, choice: ExplorerChoice) -> str:
    """Return HTML that describes the choice."""
    shown = source.at(choice)
    setting = escape(in_words(choice.setting))
    if not shown:
        mine = source.grid.of(choice.case)
        have = f"the grid has {len(mine.points)} points of this case" if mine.points else "it has none of this case"
        offer = ": train it here, or move a slider." if source.bench is not None else ": move a slider."
        return f'<div role="status"><b>{setting}</b> is not in the grid ({have}){offer}</div>'
    lines = [f"<b>{setting}</b>"]
    for name, point in shown.items():
        lines.append(f"<i>{name}:</i> {escape(said_of(point))}" + _rank(source, point))
    undefended = [p for p in source.grid.of(choice.case).references if p.label == "undefended"]
    for point in undefended:
        lines.append(f"<i>without a defence:</i> {escape(outcome(point))}")
    return f'<div role="status" style="line-height:1.5">{"<br>".join(lines)}</div>'


def _rank(source: GridSource, point: GridPoint) -> str:
    """Return how many grid points beat a grid point; points trained here are not comparable."""
    if point.here:
        return ""
    points = source.grid.of(point.case).points
    if point in [points[i] for i in frontier([p.asr for p in points], [p.utility for p in points])]:
        return " No other setting of the grid beats it."
    mine = point.asr, point.utility
    beats = sum(p.asr <= mine[0] and p.utility >= mine[1] and (p.asr, p.utility) != mine for p in points)
    return f" {beats} of {len(points) - 1} other settings beat it."


def in_words(setting: KnobValues) -> str:
    """Return a setting in words."""
    words = ", ".join(f"{name_of(knob)} {value:g}" for knob, value in setting)
    return f"{words[:1].upper()}{words[1:]}"


def outcome(point: GridPoint) -> str:
    """Return attack success with its interval, and utility on clean and triggered images."""
    unit = " %" if point.utility_label.endswith("(%)") else ""
    label = point.utility_label.removesuffix(" (%)")
    return (
        f"attack success {format_rate(point.hits, point.n)}; {label} {point.utility:.1f}{unit} on clean images, "
        f"{point.triggered_utility:.1f}{unit} on triggered ones."
    )


def said_of(point: GridPoint) -> str:
    """Describe the gate, the outcome and the training of a point."""
    gates = []
    for found in point.gate:
        caught = f", {100 * found['recall']:.0f} % of the poison among them" if "recall" in found else ""
        when = f"at step {found['step']:.0f} the gate"
        if "verdict" in found:
            when = f"the verdict of the gate from step {found['step']:.0f} on was {found['verdict']!r}, and it"
        gates.append(
            f"{when} suspected {found['flagged']:.0f} of {point.samples} samples{caught}, "
            f"{found['false alarms']:.0f} falsely"
        )
    gate = "; ".join(gates) or "the gate did not look"
    how = f"({point.max_steps} steps, {point.tests} test images, seed {point.seed}, {point.seconds:.0f} s of training)"
    return f"{gate}; {outcome(point)} {how}"


def training_note(source: GridSource) -> str:
    """Describe a training here and its differences from the grid; empty without a bench."""
    if source.bench is None:
        return ""
    steps, samples, tests = source.bench.base.max_steps, len(source.bench.train), len(source.bench.tests)
    here = f"Train here: {steps} steps on {samples} samples, then {tests} test images"
    alike = source.grid.of(source.bench.case).points
    if not alike:
        return f"{here}. The grid has no point of this case to compare with."
    first = alike[0]
    pairs = ((steps, first.max_steps, "steps"), (samples, first.samples, "samples"), (tests, first.tests, "tests"))
    less = [f"{was} {what}" for now, was, what in pairs if now != was]
    if not less:
        return f"{here}, as in the grid."
    return f"{here}. The grid had {', '.join(less)}: a point trained here may lie elsewhere for that reason alone."
