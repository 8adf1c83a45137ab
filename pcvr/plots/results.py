"""Show the headline results: attack success under each defence, and its cost in utility."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from pcvr.errors import PcvrError
from pcvr.plots.describe import described
from pcvr.plots.seeds import seed_lines
from pcvr.plots.style import CLEAN, DEFENDED, OTHER, PAGE, TRIGGERED, figure_style

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from pcvr.experiments.results import Cell, Table

_FINE_TUNED = {
    "clean": ("clean data, no defence", CLEAN, "D"),
    "clean-pcvr": ("clean data, PCVR", OTHER[1], "^"),
    "badnets-none": ("BadNets, no defence", TRIGGERED, "o"),
    "badnets-pcvr": ("BadNets, PCVR", DEFENDED, "s"),
}
"""Rows of the table of families: in words, and how they are drawn."""


def summary(table: Table, rows: Mapping[str, str] | None = None) -> Figure:
    """Draw ASR with the 95 % Wilson interval of each seed on the left, and correct answers on the right.

    Args:
        table: from `pcvr.experiments.results.load`.
        rows: the rows to draw, and what the figure calls them; by default all, by their own names.

    Raises:
        PcvrError: the table has no such row.
    """
    from matplotlib.figure import Figure

    cells = _named(table, rows)[::-1]
    places = range(len(cells))
    with figure_style():
        figure = Figure(figsize=(PAGE, 0.42 * len(cells) + 1.4), layout="constrained")
        left, right = figure.subplots(1, 2, sharey=True)
        for row, cell in zip(places, cells, strict=True):
            colour = DEFENDED if cell.label.lower().startswith("pcvr") else TRIGGERED
            left.barh(row, 100 * cell.asr, color=colour, height=0.6)
            high = seed_lines(left, cell.rates, row, 0.4)
            text = f"{100 * cell.asr:.1f}" if cell.asr else f"< {100 * cell.rates.bound:.1f}"
            left.annotate(text, (high, row), (5, 0), textcoords="offset points", va="center")
        right.plot([100 * c.right for c in cells], places, "o", color=CLEAN, label="clean images", ms=8)
        right.plot(
            [100 * c.triggered_right for c in cells],
            places,
            "s",
            color=TRIGGERED,
            label="triggered images",
            ms=7,
            mfc="none",
            mew=2,
        )
        left.set(yticks=list(places), yticklabels=[c.label for c in cells], xlim=(0, 112))
        left.set_xlabel("attack success rate (%), lower is better")
        left.set_title("Does the backdoor fire?")
        right.set(xlim=(-3, 103), xlabel="correct captions (%), higher is better")
        right.set_title("Are the captions correct?")
        figure.legend(*right.get_legend_handles_labels(), loc="outside lower right", ncols=2)
        for axes in (left, right):
            axes.grid(axis="y", visible=False)
    said = "; ".join(
        f"{c.label}: ASR {c.rates}, correct captions {100 * c.right:.1f} % clean and "
        f"{100 * c.triggered_right:.1f} % triggered"
        for c in cells[::-1]
    )
    return described(figure, f"Bars of attack success rate and dots of correct captions for each defence. {said}.")


def _named(table: Table, rows: Mapping[str, str] | None) -> list[Cell]:
    cells = {cell.label: cell for cell in table.cells().values()}
    if rows is None:
        return list(cells.values())
    missing = [row for row in rows if row not in cells]
    if missing:
        raise PcvrError(f"rows names {', '.join(missing)}, but the table has {', '.join(cells)}.")
    return [replace(cells[row], label=name) for row, name in rows.items()]


def families(table: Table) -> Figure:
    """Draw three models and two tasks: ASR and correct answers of each fine-tuning, a panel for each task and figure.

    Args:
        table: from ``pcvr.experiments.results.load("families")``.
    """
    from matplotlib.figure import Figure

    cells = table.cells(("task", "model", "label"))
    tasks, models, labels = (list(dict.fromkeys(key[k] for key in cells)) for k in range(3))
    with figure_style():
        figure = Figure(figsize=(PAGE, 2.6 * len(tasks) + 0.9), layout="constrained")
        for panels, task in zip(figure.subplots(len(tasks), 2, sharey=True, squeeze=False), tasks, strict=True):
            for k, label in enumerate(labels):
                words, colour, marker = _FINE_TUNED.get(label, (label, OTHER[0], "v"))
                for row, model in enumerate(models):
                    cell = cells.get((task, model, label))
                    if cell is None:
                        continue
                    y, name = row + 0.2 * (k - (len(labels) - 1) / 2), words if row == 0 else None
                    seed_lines(panels[0], cell.rates, y, 0.12)
                    panels[0].plot(100 * cell.asr, y, marker, color=colour, ms=8, label=name)
                    panels[1].plot(100 * cell.right, y, marker, color=colour, ms=8)
                    panels[1].plot(100 * cell.triggered_right, y, marker, color=colour, ms=8, mfc="none", mew=2)
            panels[0].set(
                yticks=range(len(models)), yticklabels=models, xlim=(-3, 103), title=f"{task}: attack success"
            )
            panels[1].set(xlim=(-3, 103), title=f"{task}: correct answers")
            for axes in panels:
                axes.grid(axis="y", visible=False)
                axes.set_xlabel("answers (%)")
            panels[1].set_xlabel("answers (%); full: clean, hollow: triggered")
        figure.legend(*figure.axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=2)
    said = "; ".join(
        f"{model}, {task}, {label}: ASR {c.rates}, correct {100 * c.right:.1f} % clean and "
        f"{100 * c.triggered_right:.1f} % triggered"
        for (task, model, label), c in cells.items()
    )
    return described(figure, f"Dots of attack success and of correct answers for each model and task. {said}.")
