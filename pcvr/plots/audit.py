"""The figure of an audit: the scores of all samples and the threshold."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from pcvr.plots.describe import described
from pcvr.plots.style import CLEAN, INK, TRIGGERED, figure_style

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def score_histogram(scores: np.ndarray, flagged: np.ndarray, threshold: float, bins: int = 48) -> Figure:
    """Draw the histogram of the scores, its counts logarithmic, with the threshold.

    Args:
        scores: ``[N]``, powers of ten.
        flagged: bool ``[N]``.
        threshold: infinite where there is no evidence; then no line is drawn.
        bins: number of bars.
    """
    from matplotlib.figure import Figure

    edges = np.linspace(0, max(float(np.max(scores)), 1.0) * 1.02, bins + 1)
    with figure_style():
        figure = Figure(figsize=(8, 3.4), layout="constrained")
        axes = figure.subplots()
        parts, names = (
            [scores[~flagged], scores[flagged]],
            [f"not flagged: {int((~flagged).sum())}", f"flagged: {int(flagged.sum())}"],
        )
        axes.hist(parts, edges, stacked=True, color=[CLEAN, TRIGGERED], label=names, ec="white", lw=0.4)
        axes.set_yscale("log")
        axes.set_ylim(bottom=0.7)
        if np.isfinite(threshold):
            axes.axvline(threshold, color=INK, ls="--", lw=1.8, label=f"threshold {threshold:.2f}")
        axes.set(xlabel="score (powers of ten; high is suspicious)", ylabel="samples (logarithmic)")
        axes.legend(loc="upper right", fontsize=9)
    line = f"The threshold is {threshold:.2f}." if np.isfinite(threshold) else "There is no evidence, so no threshold."
    said = f"Histogram of the scores of {len(scores)} samples, of which {int(flagged.sum())} are flagged. {line}"
    return described(figure, said)
