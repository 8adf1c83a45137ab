"""One style for every figure: the Okabe-Ito palette, and a line style for each colour, so that none stands alone."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from threading import RLock
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes

PAGE = 8.2
"""Width of a notebook's page in inches, 900 px: no figure is wider, since the page would shrink it with its texts."""
DPI = 110
"""Pixels of the page for an inch of a figure."""
SMALLEST = 8
"""Size of the smallest text in points, 12 px on the page."""
INK = "#222222"
CLEAN = "#0072B2"
"""Clean inputs and normal answers, everywhere."""
TRIGGERED = "#D55E00"
"""Triggered inputs and the target, everywhere."""
DEFENDED = "#009E73"
"""After the defence."""
OTHER = ("#E69F00", "#56B4E9", "#CC79A7", "#F0E442")
"""Okabe-Ito colours for everything else."""
PALETTE = (CLEAN, TRIGGERED, DEFENDED, *OTHER, INK)
"""Eight colours for as many lines; beyond them markers tell lines apart."""
LINES = ("-", "--", "-.", ":")
MARKERS = "Xos^DvP*<"
"""One more than there are colours, so that no two of 72 points look alike if both go round."""

_ONE_AT_A_TIME = RLock()


@contextmanager
def figure_style() -> Iterator[None]:
    """Use the workbook's matplotlib settings inside the block, and the user's own outside.

    matplotlib has one set of settings for all threads, and a notebook draws in two: one waits for the other.
    """
    import matplotlib as mpl

    with (
        _ONE_AT_A_TIME,
        mpl.rc_context(
            {
                "figure.dpi": DPI,
                "figure.constrained_layout.use": True,
                "font.size": 10,
                "axes.titlesize": 11,
                "axes.labelsize": 9.5,
                "xtick.labelsize": 9,
                "ytick.labelsize": 9,
                "legend.fontsize": 9,
                "text.parse_math": False,  # a caption with two dollar signs is not a formula
                "axes.spines.top": False,
                "axes.spines.right": False,
                "axes.edgecolor": INK,
                "axes.grid": True,
                "axes.axisbelow": True,
                "grid.color": "#dddddd",
                "grid.linewidth": 0.6,
                "legend.frameon": False,
                "savefig.bbox": "tight",
            }
        ),
    ):
        yield


def show_map(axes: Axes, values: np.ndarray, title: str = "", **colours: Any) -> Any:
    """Draw a map ``[down, across]`` as colours, without ticks; return what a colour bar needs."""
    shades = axes.imshow(values, **colours)
    axes.set(xticks=[], yticks=[])
    axes.set_title(title, fontsize=10)
    axes.grid(visible=False)
    return shades


def value_squares(
    axes: Axes,
    values: np.ndarray,
    columns: Sequence[str],
    rows: Sequence[str],
    texts: Sequence[Sequence[str]],
    cmap: str = "cividis_r",
    top: float = 100,
) -> None:
    """Draw a table as coloured squares, each with its value.

    Args:
        axes: where to draw.
        values: ``[rows, columns]``, 0 to `top`; NaN leaves a square empty.
        columns: names of the columns.
        rows: names of the rows.
        texts: what stands in each square.
        cmap: a sequential colour map.
        top: value of the last colour.
    """
    axes.imshow(values, cmap=cmap, vmin=0, vmax=top, aspect="auto")
    for (row, column), value in np.ndenumerate(values):
        if not np.isnan(value):
            dark = (value > 0.55 * top) == cmap.endswith("_r")
            colour = "white" if dark else INK
            axes.text(column, row, texts[row][column], ha="center", va="center", fontsize=9, color=colour)
    axes.set_xticks(range(len(columns)), columns, fontsize=9)
    axes.set_yticks(range(len(rows)), rows, fontsize=9)
    axes.grid(visible=False)
