"""One look for every figure: the Okabe-Ito palette, and a line style for each colour so that none stands alone."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

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


@contextmanager
def figure_style() -> Iterator[None]:
    """The workbook's matplotlib settings inside the block, the user's own outside."""
    import matplotlib as mpl

    with mpl.rc_context(
        {
            "figure.dpi": 110,
            "figure.constrained_layout.use": True,
            "font.size": 10,
            "text.parse_math": False,  # a caption with two dollar signs is no formula
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
    ):
        yield
