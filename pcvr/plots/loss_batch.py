"""Show the loss built by hand: one value for each sample of a batch, and the shapes of the terms."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from pcvr.errors import PcvrError
from pcvr.plots.describe import described
from pcvr.plots.style import CLEAN, DEFENDED, INK, LINES, PAGE, TRIGGERED, figure_style

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def batch_values(
    values: np.ndarray,
    poisoned: np.ndarray,
    ylabel: str,
    title: str,
    lines: Mapping[str, float] | None = None,
    top: float | None = None,
) -> Figure:
    """Draw a bar for each sample of a batch, first clean ones, then poisoned ones (the truth, which a defence lacks).

    Args:
        values: ``[B]``.
        poisoned: ``[B]`` bool.
        ylabel: what the value is, with its unit.
        title: of the figure.
        lines: label to height, drawn as horizontal lines, such as a cap.
        top: upper end of the axis, if the values have one.
    """
    from matplotlib.figure import Figure

    values, truth = np.asarray(values, dtype=float), np.asarray(poisoned, dtype=bool)
    if values.ndim != 1 or values.shape != truth.shape or not len(values):
        raise PcvrError(
            f"values {list(values.shape)} and poisoned {list(truth.shape)} must both be [B] with B of at least 1."
        )
    order = np.concatenate([np.flatnonzero(~truth), np.flatnonzero(truth)])
    split = int((~truth).sum())
    with figure_style():
        figure = Figure(figsize=(8, 2.9), layout="constrained")
        axes = figure.subplots()
        at = np.arange(len(values))
        if split:
            axes.bar(at[:split], values[order[:split]], color=CLEAN, label="clean sample")
        if split < len(values):
            style = {"color": TRIGGERED, "hatch": "///", "ec": "white", "label": "poisoned sample"}
            axes.bar(at[split:], values[order[split:]], **style)
        for k, (label, height) in enumerate((lines or {}).items()):
            axes.axhline(height, color=INK, ls=LINES[(k + 1) % 4], lw=1.5, label=label)
        axes.set(xlabel="sample of the batch", ylabel=ylabel, title=title, xticks=[])
        axes.grid(axis="x", visible=False)
        if top is not None:
            axes.set_ylim(0, top)
        axes.legend(fontsize=8, ncols=4, loc="upper center", bbox_to_anchor=(0.5, -0.12))
    groups = [(name, values[mask]) for name, mask in (("clean", ~truth), ("poisoned", truth)) if mask.any()]
    said = "; ".join(f"{name}: mean {v.mean():.3f}, from {v.min():.3f} to {v.max():.3f}" for name, v in groups)
    return described(figure, f"Bars of {ylabel} for each sample of a batch. {title}. {said}.")


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
