"""Show the distribution of divergence and entropy over many samples, and the gate that reads them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from pcvr.defenses.pcvr.gate import FLOOR
from pcvr.errors import PcvrError
from pcvr.experiments.histograms import ANSWER_BINS
from pcvr.plots.describe import described
from pcvr.plots.style import CLEAN, DEFENDED, INK, LINES, OTHER, PAGE, PALETTE, TRIGGERED, figure_style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from pcvr.defenses.pcvr.gate import Gate
    from pcvr.experiments.histograms import Histograms

_ROOM = 1.6  # inches a decade needs for labels at 1, 2 and 5
Groups = Mapping[str, np.ndarray]
"""Label to values ``[N]``, such as ``{"clean": ..., "triggered": ...}``."""


def invariance_histograms(
    panels: Mapping[str, Groups], xlabel: str = "cross-view divergence (nats)", bins: int = 30, log: bool = False
) -> Figure:
    """Draw histograms of two or more groups, a panel for each entry, all on the same axis.

    Args:
        panels: title to groups of values.
        xlabel: what the values are, with their unit.
        bins: number of bars.
        log: whether the axis is logarithmic; lower values are then drawn at 1e-6.
    """
    from matplotlib.figure import Figure

    _check(panels)
    edges = _edges([v for groups in panels.values() for v in groups.values()], bins, log)
    with figure_style():
        figure = Figure(figsize=(min(4.75 * len(panels), PAGE), 3.2), layout="constrained")
        grid = figure.subplots(1, len(panels), squeeze=False, sharey=True)
        said = []
        for axes, (title, groups) in zip(grid.flat, panels.items(), strict=True):
            for k, (label, values) in enumerate(groups.items()):
                _histogram(axes, values, edges, k, label, log)
                said.append(f"{title}, {label}: {_summary(values)}")
            axes.set(title=title, xlabel=xlabel)
            axes.legend(loc="best", fontsize=9)
        grid[0, 0].set_ylabel("samples (%)")
    return described(figure, f"Histograms of {xlabel}. {'; '.join(said)}.")


def invariance_ecdf(
    groups: Groups, xlabel: str = "cross-view divergence (nats)", title: str = "", log: bool = False
) -> Figure:
    """Draw the fraction of samples at or below each value, a line for each group.

    Args:
        groups: label to values.
        xlabel: what the values are, with their unit.
        title: of the figure.
        log: whether the axis is logarithmic; lower values are then drawn at 1e-6.
    """
    import seaborn as sns
    from matplotlib.figure import Figure

    _check({"": groups})
    with figure_style():
        figure = Figure(figsize=(7, 3.4), layout="constrained")
        axes = figure.subplots()
        for k, (label, values) in enumerate(groups.items()):
            shown = np.maximum(values, FLOOR) if log else np.asarray(values)
            sns.ecdfplot(x=shown, stat="percent", ax=axes, color=PALETTE[k % 7], ls=LINES[k % 4], lw=2, label=label)
        axes.set(xlabel=xlabel, ylabel="samples at or below (%)", ylim=(0, 102), title=title)
        if log:
            log_axis(axes)
        axes.legend(loc="best")
    said = "; ".join(f"{label}: {_summary(values)}" for label, values in groups.items())
    return described(figure, f"Cumulative fractions of {xlabel}. {said}.")


def attack_histograms(histograms: Histograms, figure: str, title: str = "") -> Figure:
    """Draw one figure for many attacks: a row for each attack, a column for each stage, clean and triggered.

    Args:
        histograms: from `pcvr.experiments.histograms.histograms_of` or `pcvr.experiments.histograms.local_histograms`.
        figure: a key of `pcvr.experiments.histograms.ANSWER_BINS`.
        title: of the figure.

    Raises:
        PcvrError: there is nothing to draw.
    """
    from matplotlib.figure import Figure

    columns = list(dict.fromkeys(column for stages in histograms.values() for column in stages))
    if not columns:
        raise PcvrError("there are no histograms to draw: give at least one attack with at least one stage.")
    bins = ANSWER_BINS[figure]
    edges = bins.edges
    with figure_style():
        size = (min(4.9 * len(columns), PAGE), 1.05 * len(histograms) + 1.6)
        canvas = Figure(figsize=size, layout="constrained")
        if title:
            canvas.suptitle(title, fontsize=11)
        grid = canvas.subplots(len(histograms), len(columns), squeeze=False, sharex=True, sharey=True)
        said = []
        for (attack, stages), row in zip(histograms.items(), grid, strict=True):
            for column, axes in zip(columns, row, strict=True):
                for k, (shown, counts) in enumerate(stages.get(column, {}).items()):
                    percent = 100 * np.asarray(counts) / max(sum(counts), 1)
                    colour = (CLEAN, TRIGGERED)[k % 2]
                    axes.stairs(percent, edges, fill=True, color=colour, alpha=0.3)
                    axes.stairs(percent, edges, color=colour, ls=LINES[k % 4], lw=1.8, label=shown)
                    at = int(np.searchsorted(np.cumsum(counts), sum(counts) / 2))
                    said.append(f"{attack} {column} {shown} {edges[at]:.2f} to {edges[at + 1]:.2f}")
            row[0].set_ylabel(attack, rotation=0, ha="right", va="center")
        for column, axes in zip(columns, grid[0], strict=True):
            axes.set_title(column)
        canvas.supxlabel(bins.label, fontsize=10)
        grid[0, 0].set_ylim(0, 105)
        canvas.supylabel("images (%)", fontsize=9)
        grid[0, -1].legend(*grid[0, 0].get_legend_handles_labels(), fontsize=9, loc="upper center")
    text = f"Histograms of the {bins.label} for each attack. The median lies in: {'; '.join(said)}."
    return described(canvas, text, title)


def gate_fit(scores: np.ndarray, gate: Gate, poisoned: np.ndarray | None = None, bins: int = 40) -> Figure:
    """Draw what the gate sees: the histogram of the scores, the two fitted normals and the suspicion.

    Counts are logarithmic, since poison is a few samples among thousands.

    The normals are those of the mixture's last step: mean and deviation of the log scores, weighted with the suspicion
    and with 1 - suspicion. If the gate found no low cluster, there is one normal.

    Args:
        scores: ``[N]``, cross-view divergence of each sample, nats.
        gate: from `pcvr.defenses.pcvr.gate.fit_gate` on these scores.
        poisoned: ``[N]`` bool, the truth, for the colours of the bars; the defence never sees it.
        bins: number of bars.
    """
    from matplotlib.figure import Figure

    _check({"": {"scores": scores}})
    truth = np.zeros(len(scores), dtype=bool) if poisoned is None else np.asarray(poisoned, dtype=bool)
    edges = _edges([scores], bins, log=True)
    values = np.maximum(scores, FLOOR)
    with figure_style():
        figure = Figure(figsize=(8, 3.8), layout="constrained")
        axes = figure.subplots()
        groups = {"clean (truth)" if truth.any() else "samples": (~truth, OTHER[1], "")}
        groups |= {"poisoned (truth)": (truth, TRIGGERED, "//")}
        for name, (mask, colour, hatch) in groups.items():
            if mask.any():  # over each other: stacked bars mislead on a logarithmic axis
                look: dict[str, Any] = {"color": colour, "hatch": hatch, "alpha": 0.75, "ec": "white", "lw": 0.4}
                axes.hist(values[mask], bins=edges, label=name, **look)
        _normals(axes, np.log(values), gate, np.log(edges))
        log_axis(axes)
        axes.set_yscale("log")
        axes.set_ylim(bottom=0.7)
        axes.set_xlabel("score: cross-view divergence of the answer (nats, logarithmic)")
        axes.set_ylabel("training samples (logarithmic)")
        axes.yaxis.set_major_formatter("{x:g}")
        found = f"{100 * gate.fraction:.1f} % in the low cluster" if gate.found else "no separate low cluster"
        axes.set_title(f"The gate: {found}, means {gate.separation:.1f} deviations apart")
        other = axes.twinx()
        order = np.argsort(values)
        other.plot(values[order], gate.suspicion[order], "--", color=INK, lw=1.8, label="suspicion")
        other.set(ylim=(-0.03, 1.05), ylabel="suspicion (0 to 1)")
        other.grid(visible=False)
        other.spines["right"].set_visible(True)
        lines = [a.get_legend_handles_labels() for a in (axes, other)]
        handles = [h for pair in lines for h, text in zip(*pair, strict=True) if text]
        figure.legend(handles, [t for pair in lines for t in pair[1] if t], ncols=5, loc="outside lower center")
    flagged = gate.suspicion > 0.5
    caught = f", {(flagged & truth).sum()} of them among the {truth.sum()} poisoned ones" if truth.any() else ""
    text = f"Histogram of {len(scores)} cross-view divergences, logarithmic axis. {found}."
    return described(figure, f"{text} {flagged.sum()} samples are suspicious{caught}.")


def _normals(axes: Axes, logs: np.ndarray, gate: Gate, edges: np.ndarray) -> None:
    """Draw the two components as expected counts in a bar."""
    x = np.linspace(edges[0], edges[-1], 300)
    width = edges[1] - edges[0]
    parts = [("fit: low cluster", gate.suspicion, DEFENDED, "-.")] if gate.found else []
    parts.append(("fit: the rest" if gate.found else "fit", 1 - gate.suspicion, CLEAN, "-"))
    for label, weight, colour, line in parts:
        total = weight.sum()
        mean = (weight * logs).sum() / total
        deviation = np.sqrt(max((weight * (logs - mean) ** 2).sum() / total, 1e-3))
        density = np.exp(-(((x - mean) / deviation) ** 2) / 2) / (deviation * np.sqrt(2 * np.pi))
        axes.plot(np.exp(x), total * width * density, line, color=colour, lw=2, label=label)


def _histogram(axes: Axes, values: np.ndarray, edges: np.ndarray, k: int, label: str, log: bool) -> None:
    colour = PALETTE[k % 7]
    shown = np.maximum(values, FLOOR) if log else values
    percent = np.full(len(shown), 100 / len(shown))
    axes.hist(shown, bins=edges, weights=percent, color=colour, alpha=0.35, lw=0)
    axes.hist(shown, bins=edges, weights=percent, histtype="step", color=colour, ls=LINES[k % 4], lw=1.8, label=label)
    if log:
        log_axis(axes)


def log_axis(axes: Axes) -> None:
    """Set a logarithmic axis with numbers at 1, 2 and 5, or at powers of ten only where those would overlap."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    axes.set_xscale("log")
    (low, high), grid = axes.get_xlim(), axes.get_gridspec()
    figure: Any = axes.figure
    room = figure.get_figwidth() / (grid.ncols if grid else 1) / max(np.log10(high / low), 1e-9)
    axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0) if room > _ROOM else (1.0,)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _place: f"{value:g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())


def power_labels(axes: Axes) -> None:
    """Label a logarithmic axis with powers of ten, without formulas."""
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
