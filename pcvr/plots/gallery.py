"""Looking at pictures: contact sheets, a picture beside its triggered twin, and which samples are poisoned."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from pcvr.data.sample import Image, Sample
from pcvr.errors import PcvrError
from pcvr.plots.describe import described
from pcvr.plots.style import CLEAN, INK, TRIGGERED, figure_style

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_PALE = "#d3dfe8"
_CLOSE = 20  # pixels: the least side of a close-up


def show_picture(axes: Any, picture: Image, title: str = "", frame: str | None = None) -> None:
    """Draw a picture into matplotlib axes: every pixel a sharp square, no ticks, a thick frame when asked for."""
    axes.imshow(picture, interpolation="nearest", aspect="equal")
    axes.set(xticks=[], yticks=[])
    axes.grid(visible=False)
    axes.set_title(title, fontsize=10)
    for spine in axes.spines.values():
        spine.set(visible=True, color=frame or INK, linewidth=3.5 if frame else 0.6)


def contact_sheet(
    samples: Sequence[Sample],
    columns: int = 6,
    marked: Collection[int] = (),
    title: str = "",
    captions: bool = True,
) -> Figure:
    """Pictures in rows, each with its number and the answer it teaches, and its question where each has its own.

    Args:
        samples: at least one; pictures of any size.
        columns: pictures in a row.
        marked: positions in ``samples`` that get a frame and the word "poisoned".
        title: above the sheet.
        captions: whether answers and questions stand under the pictures.

    Raises:
        PcvrError: no samples, or fewer than one column.
    """
    from matplotlib.figure import Figure

    if not samples or columns < 1:
        raise PcvrError(
            f"a contact sheet shows at least one picture in at least one column, not {len(samples)} in {columns}."
        )
    columns = min(columns, len(samples))
    rows = math.ceil(len(samples) / columns)
    taught = [f"{sample.prompt} {sample.answer}" if asked_apart(samples) else sample.answer for sample in samples]
    with figure_style():
        figure = Figure(figsize=(1.75 * columns, (2.5 if captions else 2.0) * rows + 0.35), layout="constrained")
        grid = figure.subplots(rows, columns, squeeze=False).ravel()
        for axes in grid[len(samples) :]:
            axes.set_axis_off()
        for place, (axes, sample) in enumerate(zip(grid, samples, strict=False)):
            poisoned = place in marked
            show_picture(
                axes, sample.image, f"{place} · poisoned" if poisoned else f"{place}", TRIGGERED if poisoned else None
            )
            axes.title.set(color=TRIGGERED if poisoned else INK, weight="bold" if poisoned else "normal")
            if captions:
                axes.set_xlabel(shortened(taught[place]), fontsize=8, color=TRIGGERED if poisoned else INK)
        figure.suptitle(title)
    said = "; ".join(
        f"{place}{' (poisoned)' if place in marked else ''}: {text}" for place, text in enumerate(taught[:12])
    )
    return described(
        figure,
        f"{title or 'Contact sheet'}: {len(samples)} pictures in {rows} rows"
        + (f", {len(marked)} of them framed as poisoned" if marked else "")
        + (f". Answers: {said}." if captions else "."),
    )


def before_after(
    original: Image, triggered: Image, gain: float = 8, title: str = "", names: tuple[str, str] = ("clean", "triggered")
) -> Figure:
    """A picture, its triggered twin, a close-up of what changed, and the difference enlarged.

    Args:
        original: uint8 ``[H, W, 3]``.
        triggered: the same size.
        gain: how many times the difference is enlarged; what goes over 255 is cut.
        title: above; the three stealth figures follow it.
        names: what the first two pictures are called.

    Raises:
        PcvrError: the pictures differ in size or are no uint8 pictures.
    """
    from matplotlib.figure import Figure
    from matplotlib.patches import Rectangle

    from pcvr.attacks import changed, measure_stealth

    measured = measure_stealth(original, triggered)
    rows, columns = _close_up(original, triggered)
    with figure_style():
        tall = min(2.0, max(0.6, original.shape[0] / original.shape[1]))  # photographs need not be square
        figure = Figure(figsize=(11.2, 2.75 * tall + (1.08 if title else 0.88)), layout="constrained")
        panels = figure.subplots(1, 4)
        show_picture(panels[0], original, names[0], CLEAN)
        show_picture(panels[1], triggered, names[1], TRIGGERED)
        corner = (columns.start - 0.5, rows.start - 0.5)
        size = (columns.stop - columns.start, rows.stop - rows.start)
        for axes in panels[:2]:
            axes.add_patch(Rectangle(corner, *size, fill=False, ec="white", lw=2.2))
            axes.add_patch(Rectangle(corner, *size, fill=False, ec=INK, lw=1, ls="--"))
        show_picture(panels[2], triggered[rows, columns], f"{names[1]}, close up")
        show_picture(panels[3], changed(original, triggered, gain), f"absolute difference × {gain:g}")
        share = _share(original, triggered)
        panels[0].set_xlabel(f"{original.shape[1]} × {original.shape[0]} px")
        panels[1].set_xlabel(f"{share} of the pixels changed")
        panels[2].set_xlabel(f"the dashed window, {size[0]} × {size[1]} px")
        panels[3].set_xlabel("black: unchanged")
        figures = stealth_line(measured.psnr, measured.ssim, measured.linf)
        figure.suptitle(f"{title}\n{figures}" if title else figures)
    return described(
        figure,
        f"{title + ': ' if title else ''}a picture, the same {names[1]}, a close-up of the changed place and the "
        f"difference enlarged {gain:g} times. {share} of the pixels changed; {figures}.",
    )


def poison_rates(n: int, draws: Mapping[float, Collection[int]]) -> Figure:
    """The whole data set as a field of squares, one a sample, for each poison rate: the poisoned ones stand out.

    Args:
        n: samples in the data set.
        draws: poison rate, in (0, 1], to the indices poisoned.

    Raises:
        PcvrError: no rates, no samples, or an index outside ``0 .. n - 1``.
    """
    from matplotlib.figure import Figure

    if not draws or n < 1:
        raise PcvrError(f"poison_rates draws at least one rate of at least one sample, not {len(draws)} of {n}.")
    with figure_style():
        figure = Figure(figsize=(3.4 * len(draws) + 0.4, 4.0), layout="constrained")
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
    """``n`` squares in reading order as a picture, those at ``indices`` in the colour of the trigger.

    Args:
        n: squares, at least 1.
        indices: which stand out; each in ``0 .. n - 1``.
        cell: pixels a square, its gap of one pixel included.

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


def stealth_line(psnr: float, ssim: float, linf: int) -> str:
    """The three figures as one line of text."""
    db = "infinite" if math.isinf(psnr) else f"{psnr:.1f} dB"
    return f"PSNR {db} · SSIM {ssim:.4f} · L∞ {linf} levels"


def asked_apart(samples: Sequence[Sample]) -> bool:
    """Whether the samples have questions of their own, so that their answers alone say nothing."""
    return len({sample.prompt for sample in samples}) > 1


def shortened(text: str, width: int = 24, lines: int = 4) -> str:
    """Text wrapped to a few short lines, cut with an ellipsis where it is longer."""
    return "\n".join(textwrap.wrap(text, width, max_lines=lines, placeholder=" …"))


def _rgb(colour: str) -> tuple[int, int, int]:
    return int(colour[1:3], 16), int(colour[3:5], 16), int(colour[5:7], 16)


def _share(original: Image, triggered: Image) -> str:
    return f"{100 * float((original != triggered).any(-1).mean()):.2g} %"


def _close_up(original: Image, triggered: Image) -> tuple[slice, slice]:
    """A window around what changed with a few pixels to spare; the middle where nothing did."""
    differs = (original != triggered).any(-1)
    return _span(np.flatnonzero(differs.any(1)), len(differs)), _span(np.flatnonzero(differs.any(0)), differs.shape[1])


def _span(where: np.ndarray, length: int) -> slice:
    first, last = (where[0], where[-1] + 1) if len(where) else (length // 2, length // 2)
    wanted = min(length, max(_CLOSE, int(last - first) + 8))
    start = min(max(0, (int(first) + int(last) - wanted) // 2), length - wanted)
    return slice(start, start + wanted)
