"""Show the defence lab: attack success under each defence, and its cost in correct answers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from pcvr.plots.describe import described
from pcvr.plots.seeds import percent
from pcvr.plots.style import CLEAN, DEFENDED, PAGE, figure_style, value_squares

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from pcvr.experiments.results import Cell, Table

UNDEFENDED = "none"
Cells = dict[tuple[str, str, str], "Cell"]
"""``(task, defence, attack)`` to its figures; attack ``"clean"`` for data without poison."""


def defense_cells(defended: Table, undefended: Table) -> Cells:
    """Join the cells of both tables: the undefended runs come from the attacks' table, same model, at 5 %.

    Args:
        defended: from ``pcvr.experiments.results.load("defenses")``.
        undefended: from ``pcvr.experiments.results.load("attacks")``.
    """
    cells: Cells = {}
    wanted = set()
    for (task, label, attack, rate, model), cell in defended.cells(
        ("task", "label", "attack", "rate", "model")
    ).items():
        wanted.add((task, attack if float(rate) else "clean", model))
        cells[task, label, attack if float(rate) else "clean"] = cell
    for (task, model, rate, label), cell in undefended.cells(("task", "model", "rate", "label")).items():
        if (task, label, model) in wanted and float(rate) in (0.0, 0.05):
            cells[task, UNDEFENDED, label] = cell
    return cells


def defense_picture(defended: Table, undefended: Table) -> Figure:
    """Draw ASR as squares, defences down and attacks across, and the correct answers of each; a row for each task.

    Args:
        defended: from ``pcvr.experiments.results.load("defenses")``.
        undefended: from ``pcvr.experiments.results.load("attacks")``.
    """
    from matplotlib.figure import Figure

    cells = defense_cells(defended, undefended)
    tasks, defenses, attacks = (list(dict.fromkeys(key[k] for key in cells)) for k in range(3))
    attacks = [attack for attack in attacks if attack != "clean"]
    defenses = [UNDEFENDED, *(name for name in defenses if name != UNDEFENDED)]
    with figure_style():
        figure = Figure(figsize=(PAGE, (0.32 * len(defenses) + 1.2) * len(tasks)), layout="constrained")
        for (left, right), task in zip(
            figure.subplots(len(tasks), 2, squeeze=False, width_ratios=(1.5, 1)), tasks, strict=True
        ):
            _squares(left, cells, task, defenses, attacks)
            left.set_title(f"{task}: attack success rate (%)")
            _correct(right, cells, task, defenses, attacks)
            right.set_title(f"{task}: correct answers (%)")
        figure.legend(*figure.axes[1].get_legend_handles_labels(), loc="outside lower right", ncols=2)
    said = "; ".join(
        f"{task}, {attack}, {name}: {cells[task, name, attack].rates}"
        for task in tasks
        for attack in attacks
        for name in defenses
        if (task, name, attack) in cells
    )
    return described(figure, f"Attack success and correct answers of each defence. Attack success: {said}.")


def _squares(axes: Axes, cells: Cells, task: str, defenses: list[str], attacks: list[str]) -> None:
    found = [[cells.get((task, name, attack)) for attack in attacks] for name in defenses]
    values = np.array([[np.nan if cell is None else 100 * cell.asr for cell in row] for row in found])
    texts = [["" if cell is None else percent(cell.rates) for cell in row] for row in found]
    value_squares(axes, values, attacks, defenses, texts)
    axes.tick_params(axis="x", rotation=30)


def _correct(axes: Axes, cells: Cells, task: str, defenses: list[str], attacks: list[str]) -> None:
    """Draw each attack as a point, filled for clean inputs and open for triggered ones."""
    for row, name in enumerate(defenses):
        mine = [cells[task, name, attack] for attack in attacks if (task, name, attack) in cells]
        for shift, colour, fill, label, values in (
            (-0.15, CLEAN, CLEAN, "clean inputs", [c.right for c in mine]),
            (0.15, DEFENDED, "none", "triggered inputs", [c.triggered_right for c in mine]),
        ):
            at = [row + shift] * len(values)
            axes.plot(
                [100 * v for v in values], at, "o", ms=5, color=colour, mfc=fill, label=label if not row else None
            )
    axes.set(ylim=(len(defenses) - 0.5, -0.5), xlim=(-3, 103))
    axes.set_yticks(range(len(defenses)), [""] * len(defenses))
