"""The picture of the defence lab: attack success under each defence, and what each costs in right answers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from pcvr.plots.describe import described
from pcvr.plots.style import CLEAN, DEFENDED, INK, figure_style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from pcvr.experiments.results import Cell, Table

UNDEFENDED = "none"
Cells = dict[tuple[str, str, str], "Cell"]
"""``(task, defence, attack)`` to its figures; attack ``"clean"`` for data without poison."""


def side_by_side(defended: Table, undefended: Table) -> Cells:
    """The cells of both tables in one: the undefended runs are those of the attacks' table, same model, at 5 %.

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
    """ASR as squares, defences down and attacks across, and the right answers of each; one row for each task.

    Args:
        defended: from ``pcvr.experiments.results.load("defenses")``.
        undefended: from ``pcvr.experiments.results.load("attacks")``.
    """
    from matplotlib.figure import Figure

    cells = side_by_side(defended, undefended)
    tasks, defenses, attacks = (list(dict.fromkeys(key[k] for key in cells)) for k in range(3))
    attacks = [attack for attack in attacks if attack != "clean"]
    defenses = [UNDEFENDED, *(name for name in defenses if name != UNDEFENDED)]
    with figure_style():
        figure = Figure(figsize=(11, (0.32 * len(defenses) + 1.2) * len(tasks)), layout="constrained")
        for (left, right), task in zip(figure.subplots(len(tasks), 2, squeeze=False), tasks, strict=True):
            _squares(left, cells, task, defenses, attacks)
            left.set_title(f"{task}: attack success rate (%)")
            _rights(right, cells, task, defenses, attacks)
            right.set_title(f"{task}: right answers (%)")
        figure.legend(*figure.axes[1].get_legend_handles_labels(), loc="outside lower right", ncols=2)
    said = "; ".join(
        f"{task}, {attack}, {name}: {100 * cells[task, name, attack].asr:.1f} %"
        for task in tasks
        for attack in attacks
        for name in defenses
        if (task, name, attack) in cells
    )
    return described(figure, f"Attack success and right answers of each defence. Attack success: {said}.")


def _squares(axes: Axes, cells: Cells, task: str, defenses: list[str], attacks: list[str]) -> None:
    values = np.full((len(defenses), len(attacks)), np.nan)
    for row, name in enumerate(defenses):
        for column, attack in enumerate(attacks):
            cell = cells.get((task, name, attack))
            if cell is not None:
                values[row, column] = 100 * cell.asr
                colour = "white" if cell.asr > 0.55 else INK
                text = f"{100 * cell.asr:.0f}" if cell.asr >= 0.1 else f"{100 * cell.asr:.1f}"
                axes.text(column, row, text, ha="center", va="center", color=colour, fontsize=9)
    axes.imshow(values, cmap="cividis_r", vmin=0, vmax=100, aspect="auto")
    axes.set_xticks(range(len(attacks)), attacks, fontsize=9)
    axes.set_yticks(range(len(defenses)), defenses, fontsize=9)
    axes.grid(visible=False)


def _rights(axes: Axes, cells: Cells, task: str, defenses: list[str], attacks: list[str]) -> None:
    """Each attack a point, clean inputs filled and triggered ones open; the mean of each as a bar."""
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
