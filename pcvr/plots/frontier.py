"""Show the paper's form at its price: attack success against the CIDEr that is kept, and what is reported apart."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from pcvr.experiments import reported
from pcvr.experiments.frontier import LEAST, PricedPoint, priced_points
from pcvr.experiments.grid import frontier
from pcvr.experiments.reported import PCVR_PAPER
from pcvr.plots.describe import described
from pcvr.plots.style import INK, MARKERS, OTHER, PAGE, PALETTE, figure_style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from pcvr.experiments.results import Table

_PAPER = next(each for each in reported.REPORTED if each.source == PCVR_PAPER)
REPORTED = (_PAPER.low / 100, _PAPER.high / 100)
"""Attack success after the defence, over six attacks, as a machine-written summary of the paper reports it."""
_REPORTED_BY = (
    f"reported by a machine-written\nsummary of the paper: {_PAPER.low:g}-{_PAPER.high:g} %,\n"
    "six attacks, at about\n10 % less CIDEr; other models,\ndata and attacks"
)  # `make_plain` allows five lines


def frontier_picture(table: Table) -> Figure:
    """Draw a panel for each attack: a point for each training with its 95 % Wilson interval; unbeaten ones are joined.

    The last panel holds what a summary of the paper reports. Its models, data and attacks are others.

    Args:
        table: from ``pcvr.experiments.results.load("frontier")``.

    Raises:
        PcvrError: an attack has no run without a defence.
    """
    from matplotlib.figure import Figure

    points = priced_points(table.runs)
    attacks = list(dict.fromkeys(point.attack for point in points))
    labels = list(dict.fromkeys(point.label for point in points))
    with figure_style():
        figure = Figure(figsize=(min(4.2 * len(attacks) + 2.3, PAGE), 4.8), layout="constrained")
        *panels, apart = figure.subplots(
            1, len(attacks) + 1, sharey=True, width_ratios=[*[4.0] * len(attacks), 3.0], squeeze=False
        )[0]
        for axes, attack in zip(panels, attacks, strict=True):
            _panel(axes, [point for point in points if point.attack == attack], labels)
            axes.set(title=attack, xlabel="clean CIDEr (% of plain fine-tuning)\nhigher is better")
        panels[0].set(ylim=(-3, 104))
        panels[0].set_ylabel("attack success (%), lower is better")
        _reported(apart)
        handles = {name: line for ax in panels for line, name in zip(*ax.get_legend_handles_labels(), strict=True)}
        figure.legend(handles.values(), handles, loc="outside lower center", ncols=3, fontsize=9)
    said = "; ".join(f"{attack}: {_in_words([p for p in points if p.attack == attack])}" for attack in attacks)
    return described(
        figure,
        "Dots of attack success against clean CIDEr, relative to plain fine-tuning, for each setting of the paper's "
        f"form; a panel for each attack. Settings that no other beats: {said}. Apart, as reported by a machine-written "
        f"summary of the paper, on other models and data: {100 * REPORTED[0]:.0f} to {100 * REPORTED[1]:.0f} % at "
        "about 10 % less CIDEr.",
    )


def unbeaten(points: Sequence[PricedPoint]) -> list[PricedPoint]:
    """Return the points of one attack that no other beats in attack success and CIDEr, by falling CIDEr."""
    best = [points[i] for i in frontier([p.asr for p in points], [p.utility for p in points])]
    return sorted(best, key=lambda point: (-point.utility, point.asr))


def _panel(axes: Axes, points: list[PricedPoint], labels: list[str]) -> None:
    """Draw the points of one attack, the line of the unbeaten ones, and the price that the summary names."""
    best = unbeaten(points)
    axes.plot([100 * p.utility for p in best], [100 * p.asr for p in best], color=INK, lw=1, ls=":", zorder=1,
              label="no other setting is better")  # fmt: skip
    axes.axvline(100 * LEAST, color=OTHER[1], lw=1.2, ls="--", zorder=0, label="10 % less CIDEr")
    for k, label in enumerate(labels):
        mine = [point for point in points if point.label == label]
        for point in mine:
            low, high = point.interval
            axes.plot([100 * point.utility] * 2, [100 * low, 100 * high], color=INK, lw=1.2, zorder=2)
        look = {"color": PALETTE[k % len(PALETTE)], "mec": INK, "mew": 0.8, "ms": 8, "ls": "none"}
        axes.plot([100 * p.utility for p in mine], [100 * p.asr for p in mine], MARKERS[k % len(MARKERS)],
                  label=label, zorder=3, **look)  # fmt: skip


def _reported(axes: Axes) -> None:
    """Draw what is reported as a hatched bar, in a panel of its own."""
    low, high = (100 * end for end in REPORTED)
    axes.bar(0, high - low, 0.7, low, fill=False, hatch="//", edgecolor=INK)
    axes.annotate(_REPORTED_BY, (0, high), (0, 6), textcoords="offset points", ha="center", va="bottom", fontsize=8)
    axes.set(xlim=(-1, 1), xticks=[], title="not ours")
    axes.set_xlabel("about 90 %")
    axes.grid(visible=False)


def _in_words(points: list[PricedPoint]) -> str:
    """The unbeaten points of one attack, for the description."""
    return ", ".join(
        f"{p.label}{_weight(p)} {100 * p.asr:.1f} % at {100 * p.utility:.1f} % of CIDEr" for p in unbeaten(points)
    )


def _weight(point: PricedPoint) -> str:
    weight = point.options.get("apart_weight")
    return "" if weight is None else f" with weight {weight:g}"
