"""Show the loss built by hand: values for each sample of a batch, and the shapes of the terms."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from pcvr.errors import PcvrError
from pcvr.plots.describe import described
from pcvr.plots.style import CLEAN, DEFENDED, INK, LINES, PAGE, TRIGGERED, figure_style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class BatchPanel:
    """One value for each sample of a batch.

    Attributes:
        title: of the panel.
        ylabel: what the value is, with its unit.
        values: ``[B]``.
        lines: label to height, drawn as horizontal lines, such as a cap.
        top: upper end of the axis, if the values have one.
    """

    title: str
    ylabel: str
    values: np.ndarray
    lines: Mapping[str, float] = field(default_factory=dict)
    top: float | None = None


_NAMED = {
    "whole": ("Divergence, whole distributions", "nats"),
    "label": ("Divergence, label token", "nats"),
    "apart": ("Divergence, whole distributions", "nats per token"),
    "likelihood": ("Likelihood of the label", "probability"),
    "loss": ("Loss of the label", "nats per token"),
    "entropy": ("Entropy of the answer", "nats per token"),
    "cosine": ("Similarity of the hidden states", "cosine"),
}


def panels_of(
    values: Mapping[str, np.ndarray], names: Sequence[str], lines: Mapping[str, Mapping[str, float]] | None = None
) -> list[BatchPanel]:
    """Return panels for some values of a `pcvr.analysis.batch_view.BatchView`.

    Args:
        values: name to ``[B]``.
        names: which of them, in order.
        lines: name to horizontal lines, label to height.
    """
    return [BatchPanel(*_NAMED[name], values[name], (lines or {}).get(name, {})) for name in names]


def batch_panels(panels: Sequence[BatchPanel], poisoned: np.ndarray, columns: int = 2, least: float = 0.005) -> Figure:
    """Draw a grid with a panel for each value: a bar for each sample, clean ones first, each group in ascending order.

    A panel without a visible bar is left out and named above the grid instead.

    Args:
        panels: what to draw, from left to right and from top to bottom.
        poisoned: ``[B]`` bool, the truth, which a defence lacks.
        columns: panels in a row, at least 1; three panels make one row of their own unless it is 1.
        least: a panel whose values all lie between ``-least`` and ``least`` is left out.

    Raises:
        PcvrError: there is no panel, or a panel and `poisoned` differ in length.
    """
    from matplotlib.figure import Figure

    truth = np.asarray(poisoned, dtype=bool)
    for panel in panels:
        _check_batch(np.asarray(panel.values), truth)
    if not panels or columns < 1:
        raise PcvrError(f"batch_panels got {len(panels)} panels in {columns} columns: give at least one of each.")
    visible = [np.abs(np.asarray(panel.values, dtype=float)).max() >= least for panel in panels]
    shown = [panel for panel, seen in zip(panels, visible, strict=True) if seen] or list(panels[:1])
    absent = "; ".join(
        f"{panel.title}, below {least:g} for each sample"
        for panel, seen in zip(panels, visible, strict=True)
        if not seen and panel is not shown[0]
    )
    columns = 3 if len(shown) == 3 and columns == 2 else min(columns, len(shown))  # no hole in the grid
    rows = -(-len(shown) // columns)
    with figure_style():
        figure = Figure(figsize=(PAGE, 2.5 * rows + 0.5), layout="constrained")
        grid = figure.subplots(rows, columns, squeeze=False).ravel()
        for axes in grid[len(shown) :]:
            axes.set_axis_off()
        for axes, panel in zip(grid, shown, strict=False):
            _bars(axes, panel, truth)
        names = _legend(grid[: len(shown)])
        figure.legend(names.values(), names.keys(), fontsize=9, ncols=5, loc="outside lower center")
        if absent:
            figure.suptitle(f"not drawn: {absent}", fontsize=9)
    said = " ".join(f"{panel.title} ({panel.ylabel}): {_groups(panel, truth)}." for panel in shown)
    left_out = f" Not drawn: {absent}." if absent else ""
    return described(figure, f"Bars for each sample of a batch. {said}{left_out}")


def batch_values(
    values: np.ndarray,
    poisoned: np.ndarray,
    ylabel: str,
    title: str,
    lines: Mapping[str, float] | None = None,
    top: float | None = None,
) -> Figure:
    """Draw one value for each sample of a batch; see `batch_panels`, which draws several.

    Args:
        values: ``[B]``.
        poisoned: ``[B]`` bool.
        ylabel: what the value is, with its unit.
        title: of the figure.
        lines: label to height, drawn as horizontal lines, such as a cap.
        top: upper end of the axis, if the values have one.
    """
    panel = BatchPanel(title, ylabel, np.asarray(values, dtype=float), lines or {}, top)
    return batch_panels([panel], poisoned, columns=1, least=0)


def _check_batch(values: np.ndarray, truth: np.ndarray) -> None:
    if values.ndim != 1 or values.shape != truth.shape or not len(values):
        raise PcvrError(
            f"values {list(values.shape)} and poisoned {list(truth.shape)} must both be [B] with B of at least 1."
        )


def _bars(axes: Axes, panel: BatchPanel, truth: np.ndarray) -> None:
    values = np.asarray(panel.values, dtype=float)
    clean, bad = np.sort(values[~truth]), np.sort(values[truth])
    if len(clean):
        axes.bar(np.arange(len(clean)), clean, color=CLEAN, label="clean sample")
    if len(bad):
        at = np.arange(len(clean), len(values)) + 1  # a gap between the groups
        axes.bar(at, bad, color=TRIGGERED, hatch="///", ec="white", label="poisoned sample")
    axes.set_xlim(-1, len(values) + 1)  # a bar that is too low to see keeps its place
    for k, (label, height) in enumerate(panel.lines.items()):
        axes.axhline(height, color=INK, ls=LINES[(k + 1) % 4], lw=1.5)
        place = {"xycoords": ("axes fraction", "data"), "textcoords": "offset points", "ha": "right", "fontsize": 9}
        box = {"fc": "white", "ec": "none", "pad": 1, "alpha": 0.8}
        written = axes.annotate(label, (1, height), (-2, 4), bbox=box, **place)
        written.set_in_layout(False)  # it lies in the panel: a long one must not squeeze the panel to nothing
    axes.set(ylabel=panel.ylabel, xticks=[])
    axes.set_title(panel.title, fontsize=10)
    axes.grid(axis="x", visible=False)
    if panel.top is not None:
        axes.set_ylim(0, panel.top)


def _legend(grid: Sequence[Axes]) -> dict[str, Any]:
    """Return the handle of each label of all panels; a label comes once."""
    pairs = [pair for axes in grid for pair in zip(*axes.get_legend_handles_labels(), strict=True)]
    return {label: handle for handle, label in pairs}


def _groups(panel: BatchPanel, truth: np.ndarray) -> str:
    values = np.asarray(panel.values, dtype=float)
    groups = [(name, values[mask]) for name, mask in (("clean", ~truth), ("poisoned", truth)) if mask.any()]
    return "; ".join(f"{name}: mean {v.mean():.3f}, from {v.min():.3f} to {v.max():.3f}" for name, v in groups)


def term_shapes(cap: float, reference: float, margin: float, feature_cap: float) -> Figure:
    """Draw the three penalties as functions of their inputs: flat where nothing is wrong, sloping where they push.

    Thick lines are the defence's own forms. Thin lines are its options: pulling apart without a bound, pulling
    together, an entropy band, features pulled together. A ceiling weighted with uncertainty has the same curve; it
    averages samples differently.

    Args:
        cap: divergence in nats beyond which views are apart enough.
        reference: entropy of normal answers at the first scan, nats.
        margin: allowed excess over the reference, nats.
        feature_cap: cosine below which features are apart enough.
    """
    from matplotlib.figure import Figure

    ln2 = float(np.log(2))
    most = reference + margin
    d, h, c = np.linspace(0, ln2, 200), np.linspace(0, 2 * reference + 4 * margin, 200), np.linspace(-1, 1, 200)
    curves = (
        ("pull apart", "divergence (nats)", d, np.maximum(cap - d, 0), TRIGGERED, {"none": -d, "together": d}),
        (
            "entropy",
            "entropy (nats)",
            h,
            np.maximum(h - most, 0),
            CLEAN,
            {"band": np.maximum(np.abs(h - reference) - margin, 0)},
        ),
        ("features", "cosine of the views", c, np.maximum(c - feature_cap, 0), DEFENDED, {"together": 1 - c}),
    )
    own = ("hinge", "ceiling", "capped")
    with figure_style():
        figure = Figure(figsize=(PAGE, 3.0), layout="constrained")
        for axes, (title, xlabel, x, y, colour, options), name in zip(figure.subplots(1, 3), curves, own, strict=True):
            axes.plot(x, y, color=colour, lw=2.5, label=name)
            for k, (label, other) in enumerate(options.items(), 1):
                axes.plot(x, other, LINES[k], color=INK, lw=1.2, label=label)
            axes.legend(loc="best", fontsize=8)
            whole_height = axes.get_xaxis_transform()
            axes.fill_between(x, 0, 1, where=y <= 0, color="#999999", alpha=0.18, lw=0, transform=whole_height)
            axes.set(title=title, xlabel=xlabel, ylabel="penalty", xlim=(x[0], x[-1]))
    text = (
        f"Three curves. The pull-apart penalty falls from {cap:.2f} at divergence 0 to 0 at {cap:.2f} nats. "
        f"The entropy penalty is 0 up to {reference + margin:.2f} nats and rises above. The feature "
        f"penalty is 0 up to a cosine of {feature_cap:.2f} and rises above. Grey marks where a penalty is 0. Thin "
        f"lines are options: unbounded, the first falls on below 0; a band rises on both sides of {reference:.2f} nats."
    )
    return described(figure, text)


def parts(terms: Mapping[str, float], title: str = "What the loss of this batch is made of") -> Figure:
    """Draw the weighted terms of a loss as bars.

    Args:
        terms: label to value, nats.
        title: of the figure.
    """
    from matplotlib.figure import Figure

    labels = list(terms)[::-1]
    with figure_style():
        figure = Figure(figsize=(7, 0.42 * len(labels) + 1.1), layout="constrained")
        axes = figure.subplots()
        axes.barh(range(len(labels)), [terms[k] for k in labels], color=CLEAN, height=0.6)
        for row, label in enumerate(labels):
            axes.annotate(f"{terms[label]:.3f}", (terms[label], row), (5, 0), textcoords="offset points", va="center")
        axes.set(yticks=range(len(labels)), yticklabels=labels, xlabel="nats", title=title)
        axes.margins(x=0.15)
        axes.grid(axis="y", visible=False)
    return described(figure, f"{title}: {'; '.join(f'{k} {v:.3f}' for k, v in terms.items())}.")
