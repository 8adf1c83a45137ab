"""Show the attack lab: the poison rate from which attacks succeed, and on which models."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from pcvr.errors import PcvrError
from pcvr.plots.describe import described
from pcvr.plots.seeds import percent, places
from pcvr.plots.style import INK, PAGE, PALETTE, figure_style, value_squares

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from pcvr.experiments.results import Cell, Table

Cells = dict[tuple[str, ...], "Cell"]
_MARKERS = "osD^vPX<>*"
TAKES = 0.9
"""ASR from which an attack counts as successful."""


def lab_picture(table: Table, rate: float = 0.05) -> Figure:
    """Draw ASR over the poison rate on one model, and ASR at one rate on all models; a row of panels for each task.

    Args:
        table: from ``pcvr.experiments.results.load("attacks")``.
        rate: poison rate of the right panels.
    """
    from matplotlib.figure import Figure

    cells = {key: cell for key, cell in table.cells(("task", "model", "label", "rate")).items() if float(key[3]) > 0}
    tasks, models, attacks = (list(dict.fromkeys(key[k] for key in cells)) for k in range(3))
    with figure_style():
        figure = Figure(figsize=(PAGE, max(3.0, 0.23 * len(attacks) + 0.8) * len(tasks) + 0.5), layout="constrained")
        panels = figure.subplots(len(tasks), 2, squeeze=False, width_ratios=(1.25, 1))
        for (left, right), task in zip(panels, tasks, strict=True):
            _curves(left, {key: c for key, c in cells.items() if key[:2] == (task, models[0])}, attacks)
            left.set_title(f"{task}, {models[0]}: ASR by rate")
            _squares(right, cells, task, models, attacks, rate)
            right.set_title(f"{task}: ASR (%) at {100 * rate:g} %")
            right.tick_params(axis="x", rotation=20)
        figure.legend(*panels[0][0].get_legend_handles_labels(), loc="outside lower center", ncols=6, fontsize=9)
    said = "; ".join(
        f"{task}, {attack}: {words}"
        for (task, model, attack), words in takes_in_words(table).items()
        if model == models[0]
    )
    return described(figure, f"Lines of attack success over the poison rate, and squares for each model. {said}.")


def lowest_rates(table: Table, takes: float = TAKES) -> dict[tuple[str, str, str], float | None]:
    """Return ``(task, model, attack)`` to the lowest poison rate whose ASR, over all seeds, is at least `takes`.

    A rate counts only if every higher rate tried succeeds too; None if no rate does.
    """
    found: dict[tuple[str, str, str], float | None] = {}
    cells = table.cells(("task", "model", "label", "rate"))
    groups = dict.fromkeys(key[:3] for key in cells if float(key[3]) > 0)
    for group in groups:
        task, model, attack = group
        lowest = None
        for rate in sorted((float(key[3]) for key in cells if key[:3] == group), reverse=True):
            if cells[task, model, attack, str(rate)].asr < takes:
                break
            lowest = rate
        found[task, model, attack] = lowest
    return found


def rates_tried(table: Table, model: str) -> dict[str, tuple[float, ...]]:
    """Return ``"task, attack"`` to the poison rates, ascending, at which a model was trained."""
    found: dict[str, set[float]] = {}
    for task, of_model, attack, rate in table.cells(("task", "model", "label", "rate")):
        if of_model == model and float(rate) > 0:
            found.setdefault(f"{task}, {attack}", set()).add(float(rate))
    return {name: tuple(sorted(rates)) for name, rates in found.items()}


def takes_in_words(table: Table) -> dict[tuple[str, str, str], str]:
    """Return ``(task, model, attack)`` to the result of :func:`lowest_rates` in words, limited to the rates tried."""
    tried: dict[tuple[str, str, str], set[str]] = {}
    for cell in table.cells(("task", "model", "label", "rate")):
        tried.setdefault((cell[0], cell[1], cell[2]), set()).add(cell[3])
    words = {}
    for key, lowest in lowest_rates(table).items():
        if lowest is None:
            words[key] = "does not take"
        elif len(tried[key]) == 1:
            words[key] = f"takes at {100 * lowest:g} %, the only rate tried"
        else:
            words[key] = f"takes from {100 * lowest:g} % up"
    return words


def forming_curves(table: Table, model: str) -> Figure:
    """Draw how fast each backdoor forms on a model: ASR over optimiser steps, a panel for each task.

    Args:
        table: from ``pcvr.experiments.results.load("attacks")``.
        model: the model; its watched runs of the first seed are drawn.

    Raises:
        PcvrError: the table has no watched run of the model.
    """
    from matplotlib.figure import Figure

    watched: dict[tuple[str, str], list[tuple[int, float]]] = {}
    for run in table.runs:
        said = run["experiment"]
        if said["model"] == model and run.get("watch"):
            points = [(point["step"], 100 * point["hits"] / point["n"]) for point in run["watch"]]
            watched.setdefault((said["task"], said["label"]), points)
    if not watched:
        raise PcvrError(
            f"the table has no watched run of {model!r}: python benchmarks/attacks.py watches the first one."
        )
    tasks, attacks = (list(dict.fromkeys(key[k] for key in watched)) for k in range(2))
    with figure_style():
        figure = Figure(figsize=(PAGE, 3.7), layout="constrained")
        for axes, task in zip(figure.subplots(1, len(tasks), sharey=True, squeeze=False)[0], tasks, strict=True):
            for k, attack in enumerate(attacks):
                if (task, attack) in watched:
                    steps, values = zip(*watched[task, attack], strict=True)
                    marker = _MARKERS[k % len(_MARKERS)]
                    axes.plot(steps, values, color=PALETTE[k % len(PALETTE)], marker=marker, ms=4, label=attack)
            axes.axhline(100 * TAKES, color=INK, lw=1, ls=":")
            axes.set(xlabel="optimiser step", ylim=(-3, 103), title=f"{task}, {model}")
        figure.axes[0].set_ylabel("attack success rate (%)")
        figure.legend(*figure.axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=6, fontsize=9)
    said_so = "; ".join(
        f"{task}, {attack}: " + (f"90 % by step {at}" if (at := _first(points, 100 * TAKES)) else "never 90 %")
        for (task, attack), points in watched.items()
    )
    return described(figure, f"Lines of attack success over optimiser steps for each attack. {said_so}.")


def _first(points: list[tuple[int, float]], level: float) -> int | None:
    return next((step for step, value in points if value >= level), None)


def _curves(axes: Axes, cells: Cells, attacks: list[str]) -> None:
    points = {
        attack: sorted((float(key[3]), cell) for key, cell in cells.items() if key[2] == attack) for attack in attacks
    }
    swept = {attack for attack, mine in points.items() if len(mine) > 1}
    for k, attack in enumerate(attacks):
        mine = points[attack]
        if not mine or (swept and attack not in swept):
            continue
        rates = [100 * rate for rate, _ in mine]
        colour, marker = PALETTE[k % len(PALETTE)], _MARKERS[k % len(_MARKERS)]
        line = "-" if len(mine) > 1 else "none"
        axes.plot(rates, [100 * cell.asr for _, cell in mine], color=colour, marker=marker, ls=line, label=attack, ms=6)
        for rate, cell in mine:
            for place, (low, high) in zip(places(len(cell.rates.hits), 0.06), cell.rates.wilson, strict=True):
                axes.vlines(100 * rate * (1 + place), 100 * low, 100 * high, color=colour, lw=1)
    axes.axhline(100 * TAKES, color=INK, lw=1, ls=":")
    ticks = sorted({100 * float(key[3]) for key in cells})
    axes.set(xscale="log", ylim=(-3, 103), xlabel="poison rate (%)", ylabel="attack success rate (%)")
    axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.minorticks_off()


def _squares(axes: Axes, cells: Cells, task: str, models: list[str], attacks: list[str], rate: float) -> None:
    found = [[cells.get((task, model, attack, str(rate))) for model in models] for attack in attacks]
    values = np.array([[np.nan if cell is None else 100 * cell.asr for cell in row] for row in found])
    texts = [["" if cell is None else percent(cell.rates) for cell in row] for row in found]
    value_squares(axes, values, models, attacks, texts)
