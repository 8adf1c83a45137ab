"""Figures of how divergence and entropy are spread over many samples, and of the gate that reads them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from pcvr.defenses.pcvr.gate import FLOOR
from pcvr.errors import PcvrError
from pcvr.experiments.histograms import ANSWER_BINS
from pcvr.plots.describe import described
from pcvr.plots.style import CLEAN, DEFENDED, INK, LINES, OTHER, TRIGGERED, figure_style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from pcvr.defenses.pcvr.gate import Gate
    from pcvr.experiments.histograms import Histograms

Groups = Mapping[str, np.ndarray]
"""Label to values ``[N]``, such as ``{"clean": ..., "triggered": ...}``."""


def invariance_histograms(
    panels: Mapping[str, Groups], xlabel: str = "cross-view divergence (nats)", bins: int = 30, log: bool = False
) -> Figure:
    """Histograms of two or more groups, a panel for each entry, all on the same axis.

    Args:
        panels: title to groups of values.
        xlabel: what is counted, with its unit.
        bins: how many bars.
        log: whether the axis is logarithmic; values below 1e-6 are then drawn at 1e-6.
    """
    from matplotlib.figure import Figure

    _check(panels)
    edges = _edges([v for groups in panels.values() for v in groups.values()], bins, log)
    with figure_style():
        figure = Figure(figsize=(4.75 * len(panels), 3.2), layout="constrained")
        grid = figure.subplots(1, len(panels), squeeze=False, sharey=True)
        said = []
        for axes, (title, groups) in zip(grid.flat, panels.items(), strict=True):
            for k, (label, values) in enumerate(groups.items()):
                _histogram(axes, values, edges, k, label, log)
                said.append(f"{title}, {label}: {_summary(values)}")
            axes.set(title=title, xlabel=xlabel)
            axes.legend(fontsize=9)
        grid[0, 0].set_ylabel("share of the samples (%)")
    return described(figure, f"Histograms of {xlabel}. {'; '.join(said)}.")


def invariance_ecdf(
    groups: Groups, xlabel: str = "cross-view divergence (nats)", title: str = "", log: bool = False
) -> Figure:
    """The share of samples at or below each value, a line for each group.

    Args:
        groups: label to values.
        xlabel: what is counted, with its unit.
        title: the title.
        log: whether the axis is logarithmic; values below 1e-6 are then drawn at 1e-6.
    """
    import seaborn as sns
    from matplotlib.figure import Figure

    _check({"": groups})
    colours = (CLEAN, TRIGGERED, DEFENDED, *OTHER)
    with figure_style():
        figure = Figure(figsize=(7, 3.4), layout="constrained")
        axes = figure.subplots()
        for k, (label, values) in enumerate(groups.items()):
            shown = np.maximum(values, FLOOR) if log else np.asarray(values)
            sns.ecdfplot(x=shown, stat="percent", ax=axes, color=colours[k % 7], ls=LINES[k % 4], lw=2, label=label)
        axes.set(xlabel=xlabel, ylabel="samples at or below (%)", ylim=(0, 102), title=title)
        if log:
            log_axis(axes)
        axes.legend()
    said = "; ".join(f"{label}: {_summary(values)}" for label, values in groups.items())
    return described(figure, f"Cumulative shares of {xlabel}. {said}.")


def attack_histograms(heaps: Histograms, figure: str, title: str = "") -> Figure:
    """One figure of many attacks side by side: a row for each attack, a column for each stage, clean and triggered.

    Args:
        heaps: from `pcvr.experiments.histograms.histograms_of` or `pcvr.experiments.histograms.local_histograms`.
        figure: a key of `pcvr.experiments.histograms.ANSWER_BINS`.
        title: stands over the figure.

    Raises:
        PcvrError: nothing to draw.
    """
    from matplotlib.figure import Figure

    columns = list(dict.fromkeys(column for stages in heaps.values() for column in stages))
    if not columns:
        raise PcvrError("there are no heaps to draw: give at least one attack with at least one stage.")
    bins = ANSWER_BINS[figure]
    edges = bins.edges
    with figure_style():
        size = (min(4.9 * len(columns), 11), 1.05 * len(heaps) + 1.6)
        canvas = Figure(figsize=size, layout="constrained")
        if title:
            canvas.suptitle(title, fontsize=11)
        grid = canvas.subplots(len(heaps), len(columns), squeeze=False, sharex=True, sharey=True)
        said = []
        for (attack, stages), row in zip(heaps.items(), grid, strict=True):
            for column, axes in zip(columns, row, strict=True):
                for k, (shown, counts) in enumerate(stages.get(column, {}).items()):
                    share = 100 * np.asarray(counts) / max(sum(counts), 1)
                    colour = (CLEAN, TRIGGERED)[k % 2]
                    axes.stairs(share, edges, fill=True, color=colour, alpha=0.3)
                    axes.stairs(share, edges, color=colour, ls=LINES[k % 4], lw=1.8, label=shown)
                    at = int(np.searchsorted(np.cumsum(counts), sum(counts) / 2))
                    said.append(f"{attack} {column} {shown} {edges[at]:.2f} to {edges[at + 1]:.2f}")
            row[0].set_ylabel(attack, rotation=0, ha="right", va="center")
        for column, axes in zip(columns, grid[0], strict=True):
            axes.set_title(column)
        canvas.supxlabel(bins.label, fontsize=10)
        grid[0, 0].set_ylim(0, 105)
        canvas.supylabel("share of the pictures (%)", fontsize=9)
        grid[0, -1].legend(*grid[0, 0].get_legend_handles_labels(), fontsize=9, loc="upper center")
    text = f"{title + '. ' if title else ''}Histograms of the {bins.label} for each attack."
    return described(canvas, f"{text} The median lies in: {'; '.join(said)}.")


def gate_fit(scores: np.ndarray, gate: Gate, poisoned: np.ndarray | None = None, bins: int = 40) -> Figure:
    """What the gate sees: a histogram of the scores with the two fitted normals, and the suspicion it draws from them.

    The normals are those of the mixture's last step: mean and deviation of the log scores weighed with the suspicion
    (and with what it leaves). Where the gate found no low cluster, there is one normal.

    Args:
        scores: ``[N]``, cross-view divergence of each sample, nats.
        gate: from `pcvr.defenses.pcvr.gate.fit_gate` on these scores.
        poisoned: ``[N]`` bool, the truth, to colour the bars; the defence never has it.
        bins: how many bars.
    """
    from matplotlib.figure import Figure

    _check({"": {"scores": scores}})
    truth = np.zeros(len(scores), dtype=bool) if poisoned is None else np.asarray(poisoned, dtype=bool)
    edges = _edges([scores], bins, log=True)
    values = np.maximum(scores, FLOOR)
    with figure_style():
        figure = Figure(figsize=(8, 3.8), layout="constrained")
        axes = figure.subplots()
        names = ("clean (the defender does not know)", "poisoned (nor this)") if truth.any() else ("samples", "")
        axes.hist([values[~truth], values[truth]], bins=edges, stacked=True, color=[OTHER[1], TRIGGERED],
                  ec="white", lw=0.4, label=list(names), alpha=0.85)  # fmt: skip
        _normals(axes, np.log(values), gate, np.log(edges))
        log_axis(axes)
        axes.set_xlabel("score: cross-view divergence of the answer (nats, logarithmic)")
        axes.set_ylabel("training samples")
        found = f"{100 * gate.share:.1f} % in the low cluster" if gate.found else "no separate low cluster"
        axes.set_title(f"The gate: {found}, means {gate.separation:.1f} deviations apart")
        other = axes.twinx()
        order = np.argsort(values)
        other.plot(values[order], gate.suspicion[order], "--", color=INK, lw=1.8, label="suspicion")
        other.set(ylim=(-0.03, 1.05), ylabel="suspicion (0 to 1)")
        other.grid(visible=False)
        other.spines["right"].set_visible(True)
        lines = [a.get_legend_handles_labels() for a in (axes, other)]
        handles = [h for pair in lines for h, text in zip(*pair, strict=True) if text]
        axes.legend(handles, [t for pair in lines for t in pair[1] if t], fontsize=8, ncols=5, loc="upper center",
                    bbox_to_anchor=(0.5, -0.18))  # fmt: skip
    flagged = gate.suspicion > 0.5
    right = f", {(flagged & truth).sum()} of them among the {truth.sum()} poisoned ones" if truth.any() else ""
    text = f"Histogram of {len(scores)} cross-view divergences, logarithmic axis. {found}."
    return described(figure, f"{text} {flagged.sum()} samples are suspicious{right}.")


def _normals(axes: Axes, logs: np.ndarray, gate: Gate, edges: np.ndarray) -> None:
    """The two components as expected counts per bar."""
    x = np.linspace(edges[0], edges[-1], 300)
    width = edges[1] - edges[0]
    parts = [("fit: low cluster", gate.suspicion, DEFENDED, "-.")] if gate.found else []
    parts.append(("fit: the rest" if gate.found else "fit", 1 - gate.suspicion, CLEAN, "-"))
    for label, weight, colour, line in parts:
        total = weight.sum()
        mean = (weight * logs).sum() / total
        spread = np.sqrt(max((weight * (logs - mean) ** 2).sum() / total, 1e-3))
        density = np.exp(-(((x - mean) / spread) ** 2) / 2) / (spread * np.sqrt(2 * np.pi))
        axes.plot(np.exp(x), total * width * density, line, color=colour, lw=2, label=label)


def _histogram(axes: Axes, values: np.ndarray, edges: np.ndarray, k: int, label: str, log: bool) -> None:
    colour = (CLEAN, TRIGGERED, DEFENDED, *OTHER)[k % 7]
    shown = np.maximum(values, FLOOR) if log else values
    share = np.full(len(shown), 100 / len(shown))
    axes.hist(shown, bins=edges, weights=share, color=colour, alpha=0.35, lw=0)
    axes.hist(shown, bins=edges, weights=share, histtype="step", color=colour, ls=LINES[k % 4], lw=1.8, label=label)
    if log:
        log_axis(axes)


def log_axis(axes: Axes) -> None:
    """A logarithmic axis with plain numbers at 1, 2 and 5: the usual labels run into each other on a short one."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _place: f"{value:g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())


def power_labels(axes: Axes) -> None:
    """Powers of ten along a logarithmic axis, in words as figures have them here: without formulas."""
    from matplotlib.ticker import FuncFormatter, NullFormatter

    raised = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
    power = FuncFormatter(lambda value, _place: "10" + f"{np.log10(value):.0f}".translate(raised))
    axes.xaxis.set_major_formatter(power)
    axes.xaxis.set_minor_formatter(NullFormatter())


def _edges(values: list[np.ndarray], bins: int, log: bool) -> np.ndarray:
    together = np.concatenate([np.asarray(v, dtype=float) for v in values])
    if log:
        together = np.log(np.maximum(together, FLOOR))
    low, high = float(together.min()), float(together.max())
    high = high if high - low > 1e-6 else low + 1e-3
    edges = np.linspace(low - 1e-9, high + 1e-9, bins + 1)
    return np.exp(edges) if log else edges


def _check(panels: Mapping[str, Groups]) -> None:
    sizes = [len(values) for groups in panels.values() for values in groups.values()]
    if not sizes or min(sizes) == 0:
        raise PcvrError("a group has no values to draw: give at least one value for each.")


def _summary(values: np.ndarray) -> str:
    low, middle, high = np.quantile(values, [0.1, 0.5, 0.9])
    return f"median {middle:.3f}, 80 percent between {low:.3f} and {high:.3f}, n = {len(values)}"
