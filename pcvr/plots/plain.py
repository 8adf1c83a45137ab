"""Keep the words in figures plain: no formulas, no characters that the font lacks, no lines that leave no room."""

from __future__ import annotations

import warnings
from functools import cache
from typing import TYPE_CHECKING, Any

from pcvr.errors import cut

if TYPE_CHECKING:
    from collections.abc import Callable

    from matplotlib.figure import Figure
    from matplotlib.font_manager import FontProperties

MISSING = "□"
"""Replaces a character that the font lacks, such as an emoji or Chinese in matplotlib's default font."""
_SIZES = (((160, 5), (32, 3)), ((60, 2), (20, 1)), ((24, 1), (8, 1)))
"""Characters in a line, and lines: of titles and notes, and of tick labels and legends, which take room from the axes.
Each further pair is for figures in which the one before leaves no room."""


def make_plain(figure: Figure) -> None:
    """Make every text of a figure drawable, whatever it contains.

    :func:`pcvr.plots.style.figure_style` already switches formulas off.
    """
    for free, side in _SIZES:
        changed = _make_plain(figure, free, side)
        if not changed or _has_room(figure):
            return


def _make_plain(figure: Figure, free: tuple[int, int], side: tuple[int, int]) -> bool:
    """Run one pass; return whether it changed a text."""
    from matplotlib.legend import Legend
    from matplotlib.text import Text
    from matplotlib.ticker import FixedFormatter, FuncFormatter

    changed = False
    for axes in figure.axes:
        for axis in (axes.xaxis, axes.yaxis):
            formatter: Any = axis.get_major_formatter()
            font = axis.get_major_ticks(1)[0].label1.get_fontproperties()
            if isinstance(formatter, FuncFormatter | FixedFormatter):
                labels = formatter.format_ticks(axis.get_majorticklocs())
                changed |= any(plain(label, font, side) != label for label in labels)
            if isinstance(formatter, FuncFormatter):  # which makes its labels again at each drawing
                formatter.func = _plainly(formatter.func, font, side)
            elif isinstance(formatter, FixedFormatter):
                formatter.seq = [plain(label, font, side) for label in formatter.seq]
    in_legends = {text for legend in figure.findobj(Legend) for text in legend.get_texts()}
    for text in figure.findobj(Text):
        size = side if text in in_legends else free
        before = text.get_text()
        text.set_text(plain(before, text.get_fontproperties(), size))
        changed |= text.get_text() != before
    return changed


def _has_room(figure: Figure) -> bool:
    with warnings.catch_warnings():
        warnings.filterwarnings("error", "constrained_layout not applied", UserWarning)
        try:
            figure.draw_without_rendering()
        except UserWarning:
            return False
    sides = [axes.get_position().size for axes in figure.axes]  # fractions of the figure; a colour bar is 0.02 wide
    return all(min(each) > 0.01 and max(each) > 0.05 for each in sides)


def plain(text: str, font: FontProperties, size: tuple[int, int] = _SIZES[0][0]) -> str:
    """Reduce `text` to characters that `font` has, and to a `size`: characters in a line, and lines."""
    if text.isascii() and len(text) <= size[0] and text.isprintable():
        return text
    known, (most, lines) = _characters(_file_of(font)), size
    parts = text.split("\n")
    parts = parts if len(parts) <= lines else [*parts[: lines - 1], " ".join(parts[lines - 1 :])]
    return "\n".join(
        "".join(c if ord(c) in known else " " if c.isspace() else MISSING for c in cut(part, most)) for part in parts
    )


def _plainly(func: Callable[..., str], font: FontProperties, size: tuple[int, int]) -> Callable[..., str]:
    return lambda value, place=None: plain(func(value, place), font, size)


def _file_of(font: FontProperties) -> str:
    from matplotlib.font_manager import findfont

    return str(findfont(font))


@cache
def _characters(file: str) -> frozenset[int]:
    from matplotlib.font_manager import get_font

    return frozenset(get_font(file).get_charmap())
