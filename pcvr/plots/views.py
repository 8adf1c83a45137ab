"""Show patch views: every operator at several fractions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from pcvr.data.sample import Image
from pcvr.errors import PcvrError
from pcvr.plots.describe import described
from pcvr.plots.gallery import show_picture
from pcvr.plots.style import CLEAN, PAGE, figure_style

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def view_sheet(
    original: Image, views: Mapping[str, Mapping[float, Image]], chosen: tuple[str, float] | None = None
) -> Figure:
    """Draw an image and its views: a column for each operator, a row for each fraction.

    Args:
        original: uint8 ``[H, W, 3]``.
        views: operator to fraction of patches to view; every operator has the same fractions.
        chosen: operator and fraction to frame, such as a defence's default.

    Raises:
        PcvrError: there is no view, or operators have different fractions.
    """
    from matplotlib.figure import Figure

    fractions = list(next(iter(views.values()), {}))
    if not fractions or any(list(by_fraction) != fractions for by_fraction in views.values()):
        raise PcvrError("view_sheet draws a rectangle: give at least one operator, each with the same fractions.")
    with figure_style():
        figure = Figure(figsize=(min(1.5 * len(views) + 2.0, PAGE), 1.35 * len(fractions) + 0.5), layout="constrained")
        grid = figure.add_gridspec(len(fractions), len(views) + 1)
        show_picture(figure.add_subplot(grid[:, 0]), original, "original")
        for column, (operator, by_fraction) in enumerate(views.items()):
            for row, (fraction, image) in enumerate(by_fraction.items()):
                axes = figure.add_subplot(grid[row, column + 1])
                frame = CLEAN if (operator, fraction) == chosen else None
                show_picture(axes, image, operator if row == 0 else "", frame)
                if column == 0:
                    axes.set_ylabel(f"fraction {fraction:g}")
    marked = f" The frame marks {chosen[0]} at fraction {chosen[1]:g}." if chosen else ""
    text = f"An image and views of it: operators {', '.join(views)} from left to right, fractions of perturbed patches "
    return described(figure, f"{text}{', '.join(f'{s:g}' for s in fractions)} from top to bottom.{marked}")
