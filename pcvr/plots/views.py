"""Patch views to look at: every operator at several shares."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from pcvr.data.sample import Image
from pcvr.errors import PcvrError
from pcvr.plots.describe import described
from pcvr.plots.gallery import show_picture
from pcvr.plots.style import CLEAN, figure_style

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def view_sheet(
    original: Image, views: Mapping[str, Mapping[float, Image]], chosen: tuple[str, float] | None = None
) -> Figure:
    """A picture and its views: a row for each operator, a column for each share.

    Args:
        original: uint8 ``[H, W, 3]``.
        views: operator to share to view; every operator has the same shares.
        chosen: operator and share to frame, such as a defence's default.

    Raises:
        PcvrError: no view, or operators with different shares.
    """
    from matplotlib.figure import Figure

    shares = list(next(iter(views.values()), {}))
    if not shares or any(list(by_share) != shares for by_share in views.values()):
        raise PcvrError("view_sheet draws a rectangle: give at least one operator, each with the same shares.")
    with figure_style():
        figure = Figure(figsize=(1.5 * len(views) + 2.0, 1.6 * len(shares) + 0.4), layout="constrained")
        grid = figure.add_gridspec(len(shares), len(views) + 1)
        show_picture(figure.add_subplot(grid[:, 0]), original, "original")
        for column, (operator, by_share) in enumerate(views.items()):
            for row, (share, picture) in enumerate(by_share.items()):
                axes = figure.add_subplot(grid[row, column + 1])
                frame = CLEAN if (operator, share) == chosen else None
                show_picture(axes, picture, operator if row == 0 else "", frame)
                if column == 0:
                    axes.set_ylabel(f"share {share:g}")
    marked = f" The frame marks {chosen[0]} at share {chosen[1]:g}." if chosen else ""
    text = f"A picture and views of it: operators {', '.join(views)} from left to right, shares of perturbed patches "
    return described(figure, f"{text}{', '.join(f'{s:g}' for s in shares)} from top to bottom.{marked}")
