"""The figure of an audit: the scores of all samples and the threshold."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image as PilImage

from pcvr.data.sample import Image
from pcvr.plots.describe import described
from pcvr.plots.gallery import dashed_window, show_picture
from pcvr.plots.style import CLEAN, INK, PAGE, TRIGGERED, figure_style

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


def evidence_picture(
    image: Image,
    views: Sequence[Image] = (),
    likeness: np.ndarray | None = None,
    top: float | None = None,
    seen: tuple[slice, slice] | None = None,
) -> Figure:
    """Draw what a judge sees of a sample: the picture, its views, and where it looks like a trigger.

    Args:
        image: uint8 ``[H, W, 3]``.
        views: of the image.
        likeness: ``[down, across]``, what each cell adds to the likeness to a trigger; None leaves the map out.
        top: the value that is drawn in full red; by default the largest of `likeness`.
        seen: rows and columns that reach the model, for a dashed frame; None for all of the picture.
    """
    from matplotlib.figure import Figure

    panels = [("the picture", image), *((f"view {number}", view) for number, view in enumerate(views, 1))]
    if likeness is not None:
        panels.append(("likeness to the trigger", heated(image, likeness, top)))
    tall, wide = image.shape[0] / image.shape[1], min(2.5, PAGE / len(panels))
    with figure_style():
        figure = Figure(figsize=(wide * len(panels), wide * min(1.4, tall) + 0.4), layout="constrained")
        for axes, (name, picture) in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels, strict=True):
            show_picture(axes, picture, name)
            if seen is not None:
                dashed_window(axes, *seen)
    said = f"A picture of {image.shape[1]} x {image.shape[0]} px and {len(views)} views of it."
    if likeness is not None:
        said += f" The map is reddest at the {place_of(likeness)}."
    return described(figure, said)


def place_of(values: np.ndarray) -> str:
    """Return where the largest of the values ``[down, across]`` is, in words: such as ``"top left"``."""
    row, column = np.unravel_index(int(values.argmax()), values.shape)
    across = ("left", "middle", "right")[min(2, int(3 * column / values.shape[1]))]
    return f"{('top', 'centre', 'bottom')[min(2, int(3 * row / values.shape[0]))]} {across}"


def heated(image: Image, values: np.ndarray, top: float | None = None) -> Image:
    """Return a grey copy of an image, red where the values ``[down, across]`` are high; those below 0 are left grey.

    Args:
        image: uint8 ``[H, W, 3]``.
        values: of the cells of a grid over the image.
        top: the value that is drawn in full red; by default the largest.
    """
    height, width = image.shape[:2]
    top = max(float(values.max()) if top is None else top, 1e-9)
    heat = PilImage.fromarray((255 * np.clip(values / top, 0, 1)).astype(np.uint8)).resize((width, height), 0)
    share = np.asarray(heat, dtype=np.float32)[..., None] / 255 * 0.75
    grey = np.repeat(image.mean(-1, keepdims=True), 3, -1)
    return np.asarray((1 - share) * grey + share * np.array([213, 94, 0], np.float32)).round().astype(np.uint8)
