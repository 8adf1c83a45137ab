"""Show what each part of PCVR is worth: all changes of the shipped table, early and late."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from pcvr.errors import PcvrError
from pcvr.experiments.part_worth import ANSWERS, PartRow
from pcvr.plots.describe import described
from pcvr.plots.style import CLEAN, INK, PAGE, TRIGGERED, figure_style
from pcvr.utils.checks import check_choice

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_FIGURES = {
    "asr": ("attack success rate (%)", "Does the backdoor fire?"),
    "triggered_right": ("correct answers to triggered images (%)", "Does the correct answer come back?"),
}
_LOOKS = {"caption": (CLEAN, "o", 0.17), "vqa": (TRIGGERED, "D", -0.17)}
"""Colour, marker and height of each task."""


def part_chart(rows: Sequence[PartRow], figure: str = "asr") -> Figure:
    """Draw one figure of all rows: a line for each change, a panel for each moment, a marker for each kind of answer.

    Args:
        rows: from `pcvr.experiments.part_worth.part_rows`, at least one.
        figure: ``"asr"``, with the 95 % interval of each seed, or ``"triggered_right"``.

    Raises:
        PcvrError: no row, or an unknown figure.
    """
    from matplotlib.figure import Figure

    check_choice("figure of the parts", figure, _FIGURES)
    if not rows:
        raise PcvrError("there is no row to draw: give the rows of the table 'parts'.")
    xlabel, title = _FIGURES[figure]
    parts, moments = (list(dict.fromkeys(getattr(row, name) for row in rows)) for name in ("part", "moment"))
    with figure_style():
        canvas = Figure(figsize=(PAGE, 0.36 * len(parts) + 1.6), layout="constrained")
        canvas.suptitle(title, fontsize=11)
        for axes, moment in zip(canvas.subplots(1, len(moments), sharey=True, squeeze=False)[0], moments, strict=True):
            for row in rows:
                if row.moment != moment:
                    continue
                colour, marker, shift = _LOOKS[row.task]
                y = len(parts) - 1 - parts.index(row.part) + shift
                if figure == "asr":
                    for low, high in row.rates.wilson:
                        axes.plot([100 * low, 100 * high], [y, y], color=colour, lw=2.5, alpha=0.4)
                axes.plot(100 * getattr(row, figure), y, marker, color=colour, ms=7, label=ANSWERS[row.task])
            axes.axhline(len(parts) - 1.5, color=INK, lw=0.8)  # below the row with all parts
            axes.set(xlim=(-3, 103), xlabel=xlabel, title=f"the gate looks {moment}")
            axes.set_yticks(range(len(parts)), parts[::-1])
            axes.set_ylim(-0.6, len(parts) - 0.4)
        handles, labels = canvas.axes[0].get_legend_handles_labels()
        names = dict(zip(labels, handles, strict=True))
        canvas.legend(names.values(), names.keys(), loc="outside lower right", ncols=2)
    said = "; ".join(f"{row.part}, {row.moment}, {ANSWERS[row.task]} {100 * getattr(row, figure):.1f}" for row in rows)
    return described(canvas, f"{xlabel} of each change to the defence, early and late: {said}.", title)
