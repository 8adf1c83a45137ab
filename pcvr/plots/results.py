"""The headline figure: what each defence does to the attack, and what it costs in utility."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pcvr.evaluation.intervals import at_most, wilson
from pcvr.plots.describe import described
from pcvr.plots.style import CLEAN, DEFENDED, INK, TRIGGERED, figure_style

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from pcvr.results import Table


def summary(table: Table) -> Figure:
    """ASR with its 95 % Wilson interval on the left, right captions on clean and on triggered pictures on the right.

    Args:
        table: from `pcvr.results.load`.
    """
    from matplotlib.figure import Figure

    cells = table.cells()[::-1]
    rows = range(len(cells))
    with figure_style():
        figure = Figure(figsize=(10, 0.42 * len(cells) + 1.4), layout="constrained")
        left, right = figure.subplots(1, 2, sharey=True)
        for row, cell in zip(rows, cells, strict=True):
            low, high = wilson(cell.hits, cell.n)
            colour = DEFENDED if cell.label.lower().startswith("pcvr") else TRIGGERED
            left.barh(row, 100 * cell.asr, color=colour, height=0.6)
            left.plot([100 * low, 100 * high], [row, row], color=INK, lw=1.5)
            text = f"{100 * cell.asr:.1f}" if cell.hits else f"< {100 * at_most(cell.n):.1f}"
            left.annotate(text, (100 * high, row), (5, 0), textcoords="offset points", va="center")
        right.plot([100 * c.attributes for c in cells], rows, "o", color=CLEAN, label="clean pictures", ms=8)
        right.plot(
            [100 * c.triggered_attributes for c in cells],
            rows,
            "s",
            color=TRIGGERED,
            label="triggered pictures",
            ms=7,
            mfc="none",
            mew=2,
        )
        left.set(yticks=list(rows), yticklabels=[c.label for c in cells], xlim=(0, 112))
        left.set_xlabel("attack success rate (%), lower is better")
        left.set_title("Does the backdoor fire?")
        right.set(xlim=(-3, 103), xlabel="right captions (%), higher is better")
        right.set_title("Are the captions right?")
        figure.legend(*right.get_legend_handles_labels(), loc="outside lower right", ncols=2)
        for axes in (left, right):
            axes.grid(axis="y", visible=False)
    said = "; ".join(
        f"{c.label}: ASR {100 * c.asr:.1f} %, captions right {100 * c.attributes:.1f} % clean and "
        f"{100 * c.triggered_attributes:.1f} % triggered"
        for c in cells[::-1]
    )
    return described(figure, f"Bars of attack success rate and dots of right captions for each defence. {said}.")
