"""Show images: contact sheets, an image beside its triggered version, and which samples are poisoned."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from pcvr.data.sample import Image, Sample
from pcvr.errors import PcvrError
from pcvr.plots.describe import described
from pcvr.plots.style import CLEAN, INK, PAGE, TRIGGERED, figure_style

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_PALE = "#d3dfe8"
_CLOSE_UP = 20  # smallest side of a close-up in pixels


def show_picture(axes: Any, image: Image, title: str = "", frame: str | None = None) -> None:
    """Draw an image into matplotlib axes: sharp pixels, no ticks, and a thick frame if a colour is given."""
    axes.imshow(image, interpolation="nearest", aspect="equal")
    axes.set(xticks=[], yticks=[])
    axes.grid(visible=False)
    axes.set_title(title, fontsize=10)
    for spine in axes.spines.values():
        spine.set(visible=True, color=frame or INK, linewidth=3.5 if frame else 0.6)


def dashed_window(axes: Any, rows: slice, columns: slice) -> None:
    """Mark some rows and columns of a shown image with a dashed rectangle."""
    from matplotlib.patches import Rectangle

    corner = (columns.start - 0.5, rows.start - 0.5)
    size = (columns.stop - columns.start, rows.stop - rows.start)
    axes.add_patch(Rectangle(corner, *size, fill=False, ec="white", lw=2.4))
    axes.add_patch(Rectangle(corner, *size, fill=False, ec=INK, lw=1.2, ls="--"))


def contact_sheet(
    samples: Sequence[Sample],
    columns: int = 6,
    marked: Collection[int] = (),
    title: str = "",
    captions: bool = True,
) -> Figure:
    """Draw images in rows, each with its number and answer, and with its question if questions differ.

    Args:
        samples: at least one, with images of any size.
        columns: number of images in a row.
        marked: positions in ``samples`` that get a frame and the word "poisoned".
        title: above the sheet.
        captions: whether to write answers and questions under the images.

    Raises:
        PcvrError: there are no samples, or fewer than one column.
    """
    from matplotlib.figure import Figure

    if not samples or columns < 1:
        raise PcvrError(
            f"a contact sheet shows at least one image in at least one column, not {len(samples)} in {columns}."
        )
    columns = min(columns, len(samples))
    rows = math.ceil(len(samples) / columns)
    taught = [f"{sample.prompt} {sample.answer}" if asked_apart(samples) else sample.answer for sample in samples]
    with figure_style():
        wide = min(1.75, PAGE / columns)
        figure = Figure(
            figsize=(wide * columns, (wide + (0.95 if captions else 0.3)) * rows + 0.35), layout="constrained"
        )
        grid = figure.subplots(rows, columns, squeeze=False).ravel()
        for axes in grid[len(samples) :]:
            axes.set_axis_off()
        for place, (axes, sample) in enumerate(zip(grid, samples, strict=False)):
            poisoned = place in marked
            show_picture(
                axes, sample.image, f"{place} · poisoned" if poisoned else f"{place}", TRIGGERED if poisoned else None
            )
            look = {"color": TRIGGERED, "weight": "bold"} if poisoned else {"color": INK}
            axes.title.set(fontsize=10 if wide > 1.2 else 8.5, **look)
            if captions:
                axes.set_xlabel(
                    shortened(taught[place], int(14 * wide), 5), fontsize=8, color=TRIGGERED if poisoned else INK
                )
        figure.suptitle(title)
    said = "; ".join(
        f"{place}{' (poisoned)' if place in marked else ''}: {text}" for place, text in enumerate(taught[:12])
    )
    return described(
        figure,
        f"{title or 'Contact sheet'}: {len(samples)} images in {rows} rows"
        + (f", {len(marked)} of them framed as poisoned" if marked else "")
        + (f". Answers: {said}." if captions else "."),
    )


def before_after(
    original: Image, triggered: Image, gain: float = 8, title: str = "", names: tuple[str, str] = ("clean", "triggered")
) -> Figure:
    """Draw an image, its triggered version, a close-up of the change, and the difference enlarged.

    Args:
        original: uint8 ``[H, W, 3]``.
        triggered: the same size.
        gain: factor on the difference; results are clipped at 255.
        title: above; the three stealth figures follow it.
        names: names of the first two images.

    Raises:
        PcvrError: the images differ in size or are not uint8.
    """
    from matplotlib.figure import Figure

    from pcvr.attacks import changed, measure_stealth

    measured = measure_stealth(original, triggered)
    rows, columns = _close_up(original, triggered)
    with figure_style():
        tall = aspect(original)
        figure = Figure(figsize=(PAGE, 2.0 * tall + (1.08 if title else 0.88)), layout="constrained")
        panels = figure.subplots(1, 4)
        show_picture(panels[0], original, names[0], CLEAN)
        show_picture(panels[1], triggered, names[1], TRIGGERED)
        for axes in panels[:2]:
            dashed_window(axes, rows, columns)
        show_picture(panels[2], triggered[rows, columns], f"{names[1]}, close up")
        show_picture(panels[3], changed(original, triggered, gain), f"difference × {gain:g}")
        share = _share(original, triggered)
        panels[0].set_xlabel(f"{original.shape[1]} × {original.shape[0]} px")
        panels[1].set_xlabel(f"{share} of pixels changed")
        panels[2].set_xlabel(f"dashed: {columns.stop - columns.start} × {rows.stop - rows.start} px")
        panels[3].set_xlabel("black: unchanged")
        figures = stealth_line(measured.psnr, measured.ssim, measured.linf)
        figure.suptitle(f"{title}\n{figures}" if title else figures)
    return described(
        figure,
        f"An image, the same {names[1]}, a close-up of the changed place and the difference enlarged {gain:g} times. "
        f"{share} of the pixels changed; {figures}.",
        title,
    )


def poison_rates(n: int, draws: Mapping[float, Collection[int]]) -> Figure:
    """Draw the data set as a field of squares, one a sample, for each poison rate; poisoned ones stand out.

    Args:
        n: samples in the data set.
        draws: poison rate, in (0, 1], to the indices poisoned.

    Raises:
        PcvrError: there are no rates or no samples, or an index is outside ``0 .. n - 1``.
    """
    from matplotlib.figure import Figure

    if not draws or n < 1:
        raise PcvrError(f"poison_rates draws at least one rate of at least one sample, not {len(draws)} of {n}.")
    with figure_style():
        figure = Figure(
            figsize=(min(3.4 * len(draws) + 0.4, PAGE), min(3.4, PAGE / len(draws)) + 0.5), layout="constrained"
        )
        for axes, (rate, indices) in zip(figure.subplots(1, len(draws), squeeze=False)[0], draws.items(), strict=True):
            show_picture(axes, waffle(n, indices), f"{100 * rate:g} %: {len(indices)} of {n} poisoned")
            for spine in axes.spines.values():
                spine.set_visible(False)
        figure.supxlabel(
            "each square is one training sample, in reading order; dark orange ones are poisoned", fontsize=9
        )
    said = ", ".join(f"{len(indices)} at {100 * rate:g} %" for rate, indices in draws.items())
    return described(figure, f"Fields of {n} squares, one a training sample, with the poisoned ones dark: {said}.")


def waffle(n: int, indices: Collection[int], cell: int = 8) -> Image:
    """Draw ``n`` squares in reading order as an image, those at ``indices`` in the colour of the trigger.

    Args:
        n: squares, at least 1.
        indices: the highlighted squares, each in ``0 .. n - 1``.
        cell: side of a square in pixels, including a gap of one pixel.

    Returns:
        uint8 ``[H, W, 3]``, about as high as wide.
    """
    outside = [int(index) for index in indices if not 0 <= index < n]
    if outside:
        raise PcvrError(f"indices {outside[:10]} are outside {n} samples: use 0 to {n - 1}.")
    columns = math.ceil(math.sqrt(n))
    rows = math.ceil(n / columns)
    colours = np.full((rows * columns, 3), 255, dtype=np.uint8)
    colours[:n] = _rgb(_PALE)
    colours[list(indices)] = _rgb(TRIGGERED)
    field = np.full((rows, cell, columns, cell, 3), 255, dtype=np.uint8)
    field[:, :-1, :, :-1] = colours.reshape(rows, 1, columns, 1, 3)
    return field.reshape(rows * cell, columns * cell, 3)


def aspect(image: Image) -> float:
    """Return height over width of an image, limited to 0.6 to 2, for the size of its panel."""
    return min(2.0, max(0.6, image.shape[0] / image.shape[1]))


def stealth_line(psnr: float, ssim: float, linf: int) -> str:
    """Format the three stealth figures as one line of text."""
    db = "infinite" if math.isinf(psnr) else f"{psnr:.1f} dB"
    return f"PSNR {db} · SSIM {ssim:.4f} · L∞ {linf} levels"


def asked_apart(samples: Sequence[Sample]) -> bool:
    """Return whether the samples have different questions, so that answers alone say nothing."""
    return len({sample.prompt for sample in samples}) > 1


def shortened(text: str, width: int = 24, lines: int = 4) -> str:
    """Wrap text to a few short lines and cut the rest with an ellipsis."""
    return "\n".join(textwrap.wrap(text, width, max_lines=lines, placeholder=" …"))


def _rgb(colour: str) -> tuple[int, int, int]:
    return int(colour[1:3], 16), int(colour[3:5], 16), int(colour[5:7], 16)


def _share(original: Image, triggered: Image) -> str:
    return f"{100 * float((original != triggered).any(-1).mean()):.2g} %"


def _close_up(original: Image, triggered: Image) -> tuple[slice, slice]:
    """Return a window around the change with a small margin, or the middle if nothing changed."""
    differs = (original != triggered).any(-1)
    return _span(np.flatnonzero(differs.any(1)), len(differs)), _span(np.flatnonzero(differs.any(0)), differs.shape[1])


def _span(where: np.ndarray, length: int) -> slice:
    first, last = (where[0], where[-1] + 1) if len(where) else (length // 2, length // 2)
    wanted = min(length, max(_CLOSE_UP, int(last - first) + 8))
    start = min(max(0, (int(first) + int(last) - wanted) // 2), length - wanted)
    return slice(start, start + wanted)
