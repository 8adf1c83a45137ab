"""Show all attacks on one image: the result, the change and its frequencies."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from pcvr.attacks.stealth import changed, measure_stealth
from pcvr.data.sample import Image
from pcvr.errors import PcvrError
from pcvr.plots.describe import described
from pcvr.plots.gallery import aspect, shortened, show_picture, stealth_line
from pcvr.plots.style import CLEAN, TRIGGERED, figure_style

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class Worn(NamedTuple):
    """What an attack makes of an image: ``image`` uint8 ``[H, W, 3]``, and a ``note`` on other changes."""

    image: Image
    note: str = ""


def side_by_side(original: Image, worn: Mapping[str, Worn], columns: int = 6, spectra: bool = True) -> Figure:
    """Draw each attack's image, the change 8 times enlarged, and the spectrum of the change.

    Args:
        original: the clean image, uint8 ``[H, W, 3]``.
        worn: attack to its image, of the same size.
        columns: number of attacks in a row.
        spectra: whether to draw spectra.

    Raises:
        PcvrError: there are no attacks, or fewer than one column.
    """
    from matplotlib.figure import Figure

    if not worn or columns < 1:
        raise PcvrError(f"side_by_side shows at least one attack in at least one column, not {len(worn)} in {columns}.")
    columns, deep = min(columns, len(worn)), 3 if spectra else 2
    rows = math.ceil(len(worn) / columns)
    tall = aspect(original)
    said = []
    with figure_style():
        figure = Figure(figsize=(2.05 * columns, (1.95 * tall * deep + 0.75) * rows), layout="constrained")
        grid = figure.subplots(rows * deep, columns, squeeze=False)
        for axes in grid.ravel():
            axes.set_axis_off()
        for k, (name, (image, note)) in enumerate(worn.items()):
            column = grid[deep * (k // columns) : deep * (k // columns) + deep, k % columns]
            for axes in column:
                axes.set_axis_on()
            same = np.array_equal(image, original)
            show_picture(column[0], image, name, CLEAN if same else TRIGGERED)
            show_picture(column[1], changed(original, image))
            found = measure_stealth(original, image)
            line = "image unchanged" if same else stealth_line(found.psnr, found.ssim, found.linf).replace(" · ", "\n")
            column[0].set_xlabel(shortened(note, 26, 2) if note else "", fontsize=8)
            column[1].set_xlabel(line, fontsize=8)
            if spectra:
                show_picture(column[2], spectrum(original, image))
            said.append(f"{name}: {note + ', ' if note else ''}{line}".replace("\n", ", "))
        for k in range(rows):
            grid[deep * k, 0].set_ylabel("triggered")
            grid[deep * k + 1, 0].set_ylabel("change × 8")
            if spectra:
                grid[deep * k + 2, 0].set_ylabel("its spectrum")
    height, width = original.shape[:2]
    return described(figure, f"{len(worn)} attacks on one image of {width} x {height} px. {'; '.join(said)}.")


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
