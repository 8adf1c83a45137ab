"""Show AUROC over training time, over operators and fractions, and over the number of views."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from pcvr.analysis.premise import current_measure, rows_of
from pcvr.errors import PcvrError
from pcvr.evaluation.detection import auroc_error
from pcvr.plots.describe import described
from pcvr.plots.style import INK, LINES, PAGE, PALETTE, figure_style, value_squares

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from pcvr.experiments.results import Table

Coordinates = tuple[float, float, float]
"""Position on the axis, value, and half the width of its interval."""
_MARKERS = "osD^vP"
_ACROSS = 3  # panels of squares in a row


def auroc_lines(
    panels: Mapping[str, Mapping[str, Sequence[Coordinates]]],
    xlabel: str = "optimiser steps done",
    log: bool = True,
    what: str = "",
) -> Figure:
    """Draw AUROC along an axis, a panel for each title and a line for each label, with 95 % intervals.

    Args:
        panels: title to label to points; a label has one colour in all panels.
        xlabel: label of the axis.
        log: whether the axis is logarithmic.
        what: an addition to the description of the figure, such as "for each attack".
    """
    from matplotlib.figure import Figure

    sizes = [len(points) for groups in panels.values() for points in groups.values()]
    if not sizes or min(sizes) == 0:
        raise PcvrError("there is nothing to draw: give at least one point for each line.")
    with figure_style():
        figure = Figure(figsize=(min(6.2 if len(panels) == 1 else 4.1 * len(panels), PAGE), 3.7), layout="constrained")
        grid = figure.subplots(1, len(panels), squeeze=False, sharey=True)[0]
        _fill(figure, grid, panels, log)
        for axes, title in zip(grid, panels, strict=True):
            axes.set(xlabel=xlabel, title=title)
        grid[0].set_ylabel("AUROC of a low score")
    said = "; ".join(
        f"{title}, {label}: " + ", ".join(f"{value:.2f} at {x:g}" for x, value, _ in points)
        for title, groups in panels.items()
        for label, points in groups.items()
    )
    return described(figure, f"Lines of AUROC over {xlabel}{what and f' {what}'}. {said}.")


def premise_picture(table: Table, measure: str = "label + likelihood") -> Figure:
    """Draw the shipped table over training time: AUROC above, attack success below; a column for each task.

    Args:
        table: from ``pcvr.experiments.results.load("premise")``.
        measure: one of `pcvr.analysis.premise.MEASURES`.
    """
    from matplotlib.figure import Figure

    above = steps_of(table, measure)
    below: dict[str, dict[str, list[Coordinates]]] = {}
    for run in table.runs:
        points = [(p["step"], p["hits"] / p["n"], 0.0) for p in run["watch"]]
        below.setdefault(run["experiment"]["task"], {})[run["experiment"]["label"]] = points
    with figure_style():
        figure = Figure(figsize=(min(4.1 * len(above), PAGE), 5.6), layout="constrained")
        grid = figure.subplots(2, len(above), squeeze=False, sharex=True, sharey="row", height_ratios=(1.5, 1))
        _fill(figure, grid[0], above, log=True)
        for axes, task in zip(grid[0], above, strict=True):
            axes.set_title(f"{task}: {measure}")
        for axes, groups in zip(grid[1], below.values(), strict=True):
            _lines(axes, groups)
            axes.set(xlabel="optimiser steps done", ylim=(-0.03, 1.03))
        grid[0, 0].set_ylabel("AUROC of a low score")
        grid[1, 0].set_ylabel("attack success rate")
    rates = {(task, label): points[-1][1] for task, groups in below.items() for label, points in groups.items()}
    said = "; ".join(
        f"{task}, {label}: AUROC " + ", ".join(f"{value:.2f} at step {x:g}" for x, value, _ in points)
        + f", success at the end {100 * rates[task, label]:.0f} percent"
        for task, groups in above.items()
        for label, points in groups.items()
    )  # fmt: skip
    return described(figure, f"Lines of AUROC and of attack success over training time for each attack. {said}.")


def steps_of(table: Table, measure: str = "label + likelihood") -> dict[str, dict[str, list[Coordinates]]]:
    """Return task to attack to AUROC of one measure at each scan, under the view that every run has, one view a sample.

    Args:
        table: from ``pcvr.experiments.results.load("premise")``.
        measure: one of `pcvr.analysis.premise.MEASURES`.
    """
    panels: dict[str, dict[str, list[Coordinates]]] = {}
    for run in table.runs:
        every = rows_of(run)  # the defence's own view comes first at every scan
        rows = [row for row in every if _view_of(row) == _view_of(every[0]) and row["views"] == 1]
        points = [_point(run, row, row["step"], measure) for row in rows]
        panels.setdefault(run["experiment"]["task"], {})[run["experiment"]["label"]] = points
    return panels


def views_of(table: Table, measure: str = "label + likelihood") -> dict[str, dict[str, list[Coordinates]]]:
    """Return task to ``"attack, step n"`` to AUROC over the number of views, where more than one was tried."""
    panels: dict[str, dict[str, list[Coordinates]]] = {}
    for run in table.runs:
        every = rows_of(run)
        for step in sorted({row["step"] for row in every if row["views"] > 1}):
            here = [row for row in every if row["step"] == step]
            rows = [row for row in here if _view_of(row) == _view_of(here[0])]
            label = f"{run['experiment']['label']}, step {step}"
            points = [_point(run, row, row["views"], measure) for row in rows]
            panels.setdefault(run["experiment"]["task"], {})[label] = points
    return panels


@dataclass(frozen=True)
class Course:
    """The course of one attack's AUROC over the training.

    Attributes:
        first: AUROC at the first scan.
        best: highest AUROC.
        best_step: step of the highest AUROC.
        last: AUROC at the last scan.
        falls: pairs of neighbouring scans between which it fell by more than half the width of the interval.
    """

    first: float
    best: float
    best_step: int
    last: float
    falls: tuple[tuple[int, int], ...]


def courses(table: Table, measure: str = "label + likelihood") -> dict[tuple[str, str], Course]:
    """Return ``(task, attack)`` to the course of its AUROC, from the points of `steps_of`."""
    found = {}
    for task, attacks in steps_of(table, measure).items():
        for label, points in attacks.items():
            step, best, _ = max(points, key=lambda point: point[1])
            falls = [(int(a), int(b)) for (a, y, _), (b, z, half) in pairwise(points) if z < y - half]
            found[task, label] = Course(points[0][1], best, int(step), points[-1][1], tuple(falls))
    return found


def extremes(table: Table, step: int, level: str, measure: str) -> dict[tuple[str, str], dict[str, tuple[str, float]]]:
    """Return ``(task, attack)`` to ``"worst"`` and ``"best"``: operator and fraction in words, and their AUROC."""
    found = {}
    for title, cells in _cells(table, step, level, measure).items():
        worst, best = (choose(cells, key=cells.__getitem__) for choose in (min, max))
        found[title] = {name: (f"{at[0]} {at[1]:g}", cells[at]) for name, at in (("worst", worst), ("best", best))}
    return found


def operator_maps(table: Table, step: int, level: str = "features", measure: str = "label") -> Figure:
    """Draw AUROC by operator and fraction as squares, a panel for each task and attack in the table.

    Args:
        table: from ``pcvr.experiments.results.load("premise")``.
        step: of the scan.
        level: ``"features"`` or ``"pixels"``.
        measure: one of `pcvr.analysis.premise.MEASURES`.

    Raises:
        PcvrError: the table has no such scan.
    """
    from matplotlib.figure import Figure

    found = {", ".join(key): cells for key, cells in _cells(table, step, level, measure).items()}
    operators = list(dict.fromkeys(key[0] for cells in found.values() for key in cells))
    fractions = sorted({key[1] for cells in found.values() for key in cells})
    with figure_style():
        across = min(len(found), _ACROSS)
        down = -(-len(found) // across)
        size = (min(2.5 * across + 1.2, PAGE), (0.36 * len(operators) + 0.75) * down + 0.5)
        figure = Figure(figsize=size, layout="constrained")
        grid = figure.subplots(down, across, squeeze=False, sharey=True).ravel()
        for axes in grid[len(found) :]:
            axes.set_axis_off()
        for axes, (title, cells) in zip(grid, found.items(), strict=False):
            values = np.array([[cells.get((o, s), np.nan) for s in fractions] for o in operators])
            texts = [[f"{value:.2f}" for value in row] for row in values]
            value_squares(axes, values, [f"{s:g}" for s in fractions], operators, texts, "cividis", top=1)
            axes.set(xlabel="fraction of patches", title=title)
        figure.suptitle(f"AUROC of a low score ({measure}) after {step} steps, views of {level}")
    said = "; ".join(
        f"{title}: " + ", ".join(f"{o} {s:g} {value:.2f}" for (o, s), value in cells.items())
        for title, cells in found.items()
    )
    return described(figure, f"Squares of AUROC by operator and fraction for each attack. {said}.")


def _cells(table: Table, step: int, level: str, measure: str) -> dict[tuple[str, str], dict[tuple[str, float], float]]:
    """Return ``(task, attack)`` to ``(operator, fraction)`` to AUROC at one scan, one view a sample."""
    found = {}
    for run in table.runs:
        rows = [r for r in rows_of(run) if (r["step"], r["level"], r["views"]) == (step, level, 1)]
        if len({_view_of(row) for row in rows}) > 1:  # runs with a single view have nothing to compare
            key = run["experiment"]["task"], run["experiment"]["label"]
            found[key] = {(row["operator"], row["fraction"]): row["auroc"][current_measure(measure)] for row in rows}
    if not found:
        raise PcvrError(
            f"the table compares no operators at step {step} on {level}: see `python benchmarks/premise.py`."
        )
    return found


def _view_of(row: Mapping[str, Any]) -> tuple[Any, ...]:
    return row["operator"], row["fraction"], row["level"]


def _point(run: Mapping[str, Any], row: Mapping[str, Any], x: float, measure: str) -> Coordinates:
    value = row["auroc"][current_measure(measure)]
    return x, value, auroc_error(value, run["scored"]["clean"], run["scored"]["poisoned"])


def _fill(figure: Figure, grid: Any, panels: Mapping[str, Mapping[str, Sequence[Coordinates]]], log: bool) -> None:
    """Draw the lines of every panel, the line of guessing, and one legend."""
    labels = list(dict.fromkeys(label for groups in panels.values() for label in groups))
    handles: dict[str, Any] = {}
    for axes, groups in zip(grid, panels.values(), strict=True):
        handles |= _lines(axes, groups, labels)
        axes.axhline(0.5, color=INK, lw=1, ls=":")
        axes.set_ylim(-0.03, 1.03)
        if log:
            ticks = sorted({x for points in groups.values() for x, *_ in points})
            axes.set_xscale("log")
            axes.set_xticks(ticks, [f"{x:g}" for x in ticks])
            axes.minorticks_off()
    figure.legend(handles.values(), handles, loc="outside lower center", ncols=min(len(handles), 6), fontsize=9)


def _lines(axes: Axes, groups: Mapping[str, Sequence[Coordinates]], labels: Sequence[str] = ()) -> dict[str, Any]:
    handles = {}
    for label, points in groups.items():
        k = (list(labels) or list(groups)).index(label)
        x, y, half = np.array(points, dtype=float).T
        colour, look = PALETTE[k % len(PALETTE)], {"ls": LINES[k % 4], "marker": _MARKERS[k % len(_MARKERS)]}
        (handles[label],) = axes.plot(x, y, color=colour, ms=4, lw=1.6, **look)
        axes.vlines(x, np.maximum(y - half, 0), np.minimum(y + half, 1), color=colour, lw=0.8)
    return handles
