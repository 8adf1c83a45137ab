"""Show what papers report of their own defences, apart from this study's figures."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pcvr.experiments.reported import FILTERS, FILTERS_SOURCE, REPORTED
from pcvr.plots.describe import described
from pcvr.plots.style import INK, OTHER, PAGE, figure_style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_LEAST = 0.7  # width at which a single value is still visible, per cent


def reported_picture() -> Figure:
    """Draw reported attack success as hatched bars, from the least to the greatest, and the F1 of two filters."""
    from matplotlib.figure import Figure

    with figure_style():
        bars = len(next(iter(FILTERS.values())))
        figure = Figure(figsize=(PAGE, 0.34 * (len(REPORTED) + bars) + 2.2), layout="constrained")
        left, right = figure.subplots(2, 1, height_ratios=(len(REPORTED) + 1, bars + 1))
        for y, each in enumerate(REPORTED):
            left.barh(y, max(_LEAST, each.high - each.low), 0.6, each.low, fill=False, hatch="////", edgecolor=INK)
            said = f"{each.low:g}" if each.low == each.high else f"{each.low:g} to {each.high:g}"
            left.annotate(f"{said}: {each.setting}", (max(each.high, each.low + _LEAST), y), (4, 0),
                          textcoords="offset points", va="center", fontsize=8)  # fmt: skip
        labels = [f"{each.method}\narXiv {each.source}" for each in REPORTED]
        left.set_yticks(range(len(REPORTED)), labels, fontsize=8)
        left.set(xlim=(0, 160), ylim=(len(REPORTED) - 0.4, -0.6), title="not ours: attack success as reported")
        left.set_xticks(range(0, 101, 20))
        left.set_xlabel("attack success after the defence (%)", loc="left")
        left.grid(axis="y", visible=False)
        _filters(right)
    values = "; ".join(
        f"{e.method}, {e.setting}{e.by and f', from {e.by}'}: {e.low:g} to {e.high:g} %" for e in REPORTED
    )
    filters = "; ".join(f"{name}: " + ", ".join(f"{a} {f1:g}" for a, f1 in each.items())
                        for name, each in FILTERS.items())  # fmt: skip
    return described(
        figure,
        f"Reported by papers for each defence, on other models, data and attacks. Attack success: {values}. "
        f"F1 of two filters in per cent: {filters}.",
    )


def _filters(axes: Axes) -> None:
    """Draw the F1 of the filters by attack."""
    for (name, each), colour, hatch, shift in zip(FILTERS.items(), OTHER, ("..", "xx"), (-0.2, 0.2), strict=False):
        places = [k + shift for k in range(len(each))]
        axes.barh(places, list(each.values()), 0.36, color="white", edgecolor=colour, hatch=hatch, label=name, lw=1.4)
        for place, value in zip(places, each.values(), strict=True):
            axes.annotate(f"{value:g}", (value, place), (3, 0), textcoords="offset points", va="center", fontsize=8)
    attacks = list(next(iter(FILTERS.values())))
    axes.set_yticks(range(len(attacks)), attacks, fontsize=9)
    axes.set(xlim=(0, 118), ylim=(len(attacks) - 0.4, -0.6), xlabel="F1 of the filter (%)")
    axes.set_title(f"not ours: two filters, InternVL2.5 (arXiv {FILTERS_SOURCE})", fontsize=10)
    axes.grid(axis="y", visible=False)
    axes.legend(loc="lower right")
