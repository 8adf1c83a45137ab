"""How visible a trigger is as its strength grows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from pcvr.errors import PcvrError
from pcvr.plots.describe import described
from pcvr.plots.style import LINES, OTHER, TRIGGERED, figure_style

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from pcvr.attacks import Stealth


def stealth_curves(strengths: Sequence[float], curves: Mapping[str, Sequence[Stealth]]) -> Figure:
    """PSNR, SSIM and L-infinity over the strength of a trigger, one line for each variant.

    Args:
        strengths: opacities in [0, 1], ascending.
        curves: a variant's name to its figures, one for each strength.

    Raises:
        PcvrError: no variant, or one with more or fewer figures than there are strengths.
    """
    from matplotlib.figure import Figure

    wrong = [name for name, figures in curves.items() if len(figures) != len(strengths)]
    if not curves or not strengths or wrong:
        raise PcvrError(
            f"stealth_curves needs one figure for each of {len(strengths)} strengths: look at {wrong or 'curves'}."
        )
    panels = (
        ("psnr", "PSNR (dB)", "mean squared change\n(higher: better hidden)"),
        ("ssim", "SSIM (1: identical)", "structure in small windows\n(higher: better hidden)"),
        ("linf", "L∞ (levels of 255)", "largest change of any pixel\n(lower: better hidden)"),
    )
    with figure_style():
        figure = Figure(figsize=(10.5, 3.3), layout="constrained")
        for axes, (name, label, title) in zip(figure.subplots(1, 3), panels, strict=True):
            for k, (variant, figures) in enumerate(curves.items()):
                colour = (TRIGGERED, *OTHER)[k % (1 + len(OTHER))]
                values = [getattr(each, name) for each in figures]
                axes.plot(strengths, values, color=colour, ls=LINES[k % len(LINES)], marker="o", ms=3.5, label=variant)
            axes.set(xlabel="strength s (opacity)", ylabel=label, xlim=(0, 1.02))
            axes.set_title(title, fontsize=10)
        figure.axes[0].legend()
    said = "; ".join(
        f"{variant}: PSNR {figures[0].psnr:.1f} to {figures[-1].psnr:.1f} dB, SSIM {figures[0].ssim:.4f} to "
        f"{figures[-1].ssim:.4f}, L-infinity {figures[0].linf} to {figures[-1].linf} levels"
        for variant, figures in curves.items()
    )
    return described(
        figure,
        f"Three stealth figures over the strength of the trigger, from {strengths[0]:g} to {strengths[-1]:g}. {said}.",
    )


def vanishing_curves(sides: Sequence[int], curves: Mapping[str, Sequence[Stealth]]) -> Figure:
    """PSNR and SSIM over the size of the picture, one line for each variant: what fades as pictures grow.

    Args:
        sides: short sides in pixels, ascending.
        curves: a variant's name to its figures, one for each side.

    Raises:
        PcvrError: no variant, or one with more or fewer figures than there are sides.
    """
    from matplotlib.figure import Figure

    wrong = [name for name, figures in curves.items() if len(figures) != len(sides)]
    if not curves or not sides or wrong:
        raise PcvrError(f"vanishing_curves needs one figure for each of {len(sides)} sides: see {wrong or 'curves'}.")
    panels = (("psnr", "PSNR (dB), higher: harder to see"), ("ssim", "SSIM, 1: identical"))
    with figure_style():
        figure = Figure(figsize=(9, 3.3), layout="constrained")
        for axes, (name, label) in zip(figure.subplots(1, 2), panels, strict=True):
            for k, (variant, figures) in enumerate(curves.items()):
                colour = (TRIGGERED, *OTHER)[k % (1 + len(OTHER))]
                values = [getattr(each, name) for each in figures]
                axes.plot(sides, values, color=colour, ls=LINES[k % len(LINES)], marker="o", ms=3.5, label=variant)
            axes.set(xlabel="short side of the picture (px)", ylabel=label)
            axes.set_xticks(list(sides))
        figure.axes[0].legend()
    said = "; ".join(
        f"{variant}: PSNR {figures[0].psnr:.1f} dB at {sides[0]} px, {figures[-1].psnr:.1f} dB at {sides[-1]} px"
        for variant, figures in curves.items()
    )
    return described(figure, f"Two stealth figures over the size of the picture. {said}.")
