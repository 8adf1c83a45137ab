"""Show all attacks on one image: the result, the change and its frequencies."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from pcvr.attacks.stealth import changed, measure_stealth
from pcvr.data.sample import Image
from pcvr.errors import PcvrError
from pcvr.plots.describe import SHARPNESS, described
from pcvr.plots.gallery import aspect, shortened, stealth_line
from pcvr.plots.style import CLEAN, DPI, INK, PAGE, SMALLEST, TRIGGERED, figure_style

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_BELOW: dict[str, Any] = {"ha": "center", "va": "top", "fontsize": SMALLEST, "linespacing": 1.1}
_LEFT, _TITLE, _NOTE, _FIGURES = 0.3, 0.3, 0.64, 0.52
"""Inches: the margin with the names of the rows; above an image; below it for a note, and for the three figures."""


class Worn(NamedTuple):
    """What an attack makes of an image: ``image`` uint8 ``[H, W, 3]``, and a ``note`` on other changes."""

    image: Image
    note: str = ""


def side_by_side(original: Image, worn: Mapping[str, Worn], columns: int = 8, spectra: bool = True) -> Figure:
    """Draw each attack's image, the change 8 times enlarged, and the spectrum of the change.

    All images are pasted into one, since some forty axes take seconds to lay out and to draw.

    Args:
        original: the clean image, uint8 ``[H, W, 3]``.
        worn: attack to its image, of the same size.
        columns: most attacks in a row; rows are filled evenly.
        spectra: whether to draw spectra.

    Raises:
        PcvrError: there are no attacks, or fewer than one column.
    """
    from matplotlib.figure import Figure
    from matplotlib.patches import Rectangle

    if not worn or columns < 1:
        raise PcvrError(f"side_by_side shows at least one attack in at least one column, not {len(worn)} in {columns}.")
    rows = math.ceil(len(worn) / columns)
    columns = math.ceil(len(worn) / rows)
    step = min(1.6, (PAGE - _LEFT) / columns)
    wide, high = step - 0.1, (step - 0.1) * aspect(original)
    names = ["triggered", "change × 8", *(["its spectrum"] if spectra else [])]
    tops = [_TITLE, _TITLE + high + _NOTE, _TITLE + 2 * high + _NOTE + _FIGURES][: len(names)]  # of a block's images
    block = tops[-1] + high + (0.12 if spectra else _FIGURES)
    width, height = _LEFT + step * columns, block * rows
    said = []
    with figure_style():
        figure = Figure(figsize=(width, height), layout="none")
        axes = figure.add_axes((0, 0, 1, 1))
        axes.set(xticks=[], yticks=[])
        axes.set_axis_off()
        canvas = _Canvas(width, height)
        for k, (name, (image, note)) in enumerate(worn.items()):
            row, column = divmod(k, columns)
            left, top = _LEFT + step * column, height - block * row
            same = np.array_equal(image, original)
            found = measure_stealth(original, image)
            line = "image unchanged" if same else stealth_line(found.psnr, found.ssim, found.linf).replace(" · ", "\n")
            shown = [image, changed(original, image), *([spectrum(original, image)] if spectra else [])]
            for which, (part, down) in enumerate(zip(shown, tops, strict=True)):
                edge = (CLEAN if same else TRIGGERED, 2.5) if which == 0 else (INK, 0.6)
                canvas.paste(part, left, top - down, wide, high)
                axes.add_patch(Rectangle((left, top - down - high), wide, high, fill=False, ec=edge[0], lw=edge[1]))
            middle = left + wide / 2
            axes.text(middle, top - _TITLE + 0.05, name, ha="center", va="bottom", fontsize=9.5)
            axes.text(middle, top - tops[0] - high - 0.05, shortened(note, int(14 * step), 4) if note else "", **_BELOW)
            axes.text(middle, top - tops[1] - high - 0.05, "image\nunchanged" if same else line, **_BELOW)
            said.append(f"{name}: {note + ', ' if note else ''}{line}".replace("\n", ", "))
        for row in range(rows):
            for name, down in zip(names, tops, strict=True):
                y = height - block * row - down - high / 2
                axes.text(_LEFT - 0.06, y, name, rotation=90, ha="right", va="center", fontsize=9)
        axes.imshow(canvas.pixels, extent=(0, width, 0, height), interpolation="nearest", aspect="auto")
    side = f"{original.shape[1]} x {original.shape[0]} px"
    return described(figure, f"{len(worn)} attacks on one image of {side}. {'; '.join(said)}.")


class _Canvas:
    """A white image as sharp as the figure's file, into which images are pasted at places in inches."""

    def __init__(self, width: float, height: float) -> None:
        self.scale, self.height = DPI * SHARPNESS, height
        self.pixels = np.full((round(height * self.scale), round(width * self.scale), 3), 255, np.uint8)

    def paste(self, image: Image, left: float, top: float, wide: float, high: float) -> None:
        """Paste an image, enlarged without smoothing; `top` is its upper edge, seen from the bottom of the canvas."""
        start = round((self.height - top) * self.scale), round(left * self.scale)
        size = round(high * self.scale), round(wide * self.scale)
        rows, columns = (np.arange(n) * side // n for n, side in zip(size, image.shape[:2], strict=True))
        self.pixels[start[0] : start[0] + size[0], start[1] : start[1] + size[1]] = image[np.ix_(rows, columns)]


def spectrum(original: Image, triggered: Image) -> Image:
    """Return the log magnitude of the change's two-dimensional Fourier transform, mean over channels.

    The middle is the lowest frequency, the edges the highest. White is the strongest; black is 60 dB or more below it.

    Returns:
        uint8 ``[H, W, 3]``, grey.
    """
    change = triggered.astype(float) - original
    size = np.abs(np.fft.fftshift(np.fft.fft2(change, axes=(0, 1)), axes=(0, 1))).mean(-1)
    if not size.max():
        return np.zeros(original.shape, np.uint8)
    decibel = 20 * np.log10(np.maximum(size / size.max(), 1e-3))
    grey = np.rint(255 * (1 + decibel / 60)).astype(np.uint8)
    return np.repeat(grey[:, :, None], 3, axis=2)
