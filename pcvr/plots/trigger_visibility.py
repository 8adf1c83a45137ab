"""Show how visible a trigger is: to measures of images, to the tower and to a linear probe on its features."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from pcvr.errors import PcvrError
from pcvr.plots.describe import described
from pcvr.plots.style import CLEAN, INK, LINES, OTHER, PAGE, TRIGGERED, figure_style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from pcvr.attacks import Stealth
    from pcvr.evaluation.trigger_visibility import FeatureShift, Found

_MEASURES = {
    "psnr": ("PSNR (dB)", "mean squared change\n(higher: better hidden)"),
    "ssim": ("SSIM (1: identical)", "structure in small windows\n(higher: better hidden)"),
    "linf": ("L∞ (levels of 255)", "largest change of any pixel\n(lower: better hidden)"),
}


def stealth_curves(strengths: Sequence[float], curves: Mapping[str, Sequence[Stealth]]) -> Figure:
    """Draw PSNR, SSIM and L-infinity over the strength of a trigger, a line for each variant.

    Args:
        strengths: opacities in [0, 1], ascending.
        curves: name of a variant to its figures, one for each strength.

    Raises:
        PcvrError: there is no variant, or one has more or fewer figures than there are strengths.
    """
    _check_curves("stealth_curves", "strengths", strengths, curves)
    with figure_style():
        figure = _stealth_panels(_MEASURES, strengths, curves, "strength s (opacity)")
        for axes in figure.axes:
            axes.set_xlim(0, 1.02)
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
    """Draw PSNR and SSIM over the size of the image, a line for each variant: a trigger may fade in large images.

    Args:
        sides: short sides in pixels, ascending.
        curves: name of a variant to its figures, one for each side.

    Raises:
        PcvrError: there is no variant, or one has more or fewer figures than there are sides.
    """
    _check_curves("vanishing_curves", "sides", sides, curves)
    with figure_style():
        figure = _stealth_panels(("psnr", "ssim"), sides, curves, "short side of the image (px)")
        for axes in figure.axes:
            axes.set_xticks(list(sides))
    said = "; ".join(
        f"{variant}: PSNR {figures[0].psnr:.1f} dB at {sides[0]} px, {figures[-1].psnr:.1f} dB at {sides[-1]} px"
        for variant, figures in curves.items()
    )
    return described(figure, f"Two stealth figures over the size of the image. {said}.")


def _check_curves(name: str, what: str, x: Sequence[float], curves: Mapping[str, Sequence[Stealth]]) -> None:
    wrong = [variant for variant, figures in curves.items() if len(figures) != len(x)]
    if not curves or not x or wrong:
        raise PcvrError(f"{name} needs one figure for each of {len(x)} {what}: see {wrong or 'curves'}.")


def _stealth_panels(
    measures: Iterable[str], x: Sequence[float], curves: Mapping[str, Sequence[Stealth]], xlabel: str
) -> Figure:
    """Draw a panel for each measure, with a line for each variant."""
    from matplotlib.figure import Figure

    names = list(measures)
    figure = Figure(figsize=(min(1.5 + 3 * len(names), PAGE), 3.1), layout="constrained")
    for axes, name in zip(figure.subplots(1, len(names)), names, strict=True):
        for k, (variant, figures) in enumerate(curves.items()):
            values = [getattr(each, name) for each in figures]
            style = {"color": (TRIGGERED, *OTHER)[k % 5], "ls": LINES[k % 4], "marker": "o", "ms": 3.5}
            axes.plot(x, values, label=variant, **style)
        axes.set(xlabel=xlabel, ylabel=_MEASURES[name][0])
        axes.set_title(_MEASURES[name][1], fontsize=10)
    figure.axes[0].legend(loc="best")
    return figure


def tower_distances(seen: Mapping[str, FeatureShift], title: str = "") -> Figure:
    """Draw for each attack how far triggered images lie from clean ones (median and middle half) and from each other.

    Args:
        seen: attack to the result of :func:`pcvr.evaluation.trigger_visibility.seen_by_tower`.
        title: of the figure.

    Raises:
        PcvrError: there are no attacks.
    """
    _check_attacks("tower_distances", seen)
    order = sorted(seen, key=lambda name: float(np.median(seen[name].moved)))
    with figure_style():
        figure, axes = _row_for_each(order, title)
        for row, name in enumerate(order):
            low, middle, high = np.quantile(seen[name].moved, (0.25, 0.5, 0.75))
            axes.plot([low, high], [row, row], color=TRIGGERED, lw=5, alpha=0.35, solid_capstyle="round")
            label = ("from clean to triggered", "between two triggered images") if row == 0 else (None, None)
            axes.plot(middle, row, "o", color=TRIGGERED, ms=7, label=label[0])
            axes.plot(seen[name].apart.mean(), row, "D", color=CLEAN, ms=6, mfc="none", mew=1.6, label=label[1])
        axes.axvline(1, color=INK, lw=1, ls=":")
        axes.set_xlabel("distance of the tower's features (1: between two clean images)")
        axes.set_xlim(left=0)
        figure.legend(loc="outside lower right", ncols=2)
    said = "; ".join(f"{name}: {np.median(seen[name].moved):.2f}" for name in order)
    return described(figure, f"Dots: how far each trigger moves the tower's features. {said}.")


def probe_bars(found: Mapping[str, Found], title: str = "") -> Figure:
    """Draw for each attack the fraction of triggered images that a linear probe finds, and its false positives.

    Args:
        found: attack to the result of :func:`pcvr.evaluation.trigger_visibility.found_by_probe`.
        title: of the figure.

    Raises:
        PcvrError: there are no attacks.
    """
    _check_attacks("probe_bars", found)
    rows = range(len(found))
    with figure_style():
        figure, axes = _row_for_each(list(found), title)
        axes.barh(rows, [100 * f.share for f in found.values()], color=TRIGGERED, height=0.6, label="found")
        alarms = [100 * f.alarms for f in found.values()]
        axes.plot(alarms, rows, "D", color=CLEAN, ms=6, mfc="none", mew=1.6, label="false positives")
        axes.set(xlim=(-2, 102), xlabel="images (%)")
        axes.invert_yaxis()
        figure.legend(loc="outside lower right", ncols=2)
    said = "; ".join(f"{name}: {100 * f.share:.0f} %" for name, f in found.items())
    return described(figure, f"Bars: triggered images that a linear probe on the tower's features finds. {said}.")


def _check_attacks(name: str, attacks: Mapping[str, object]) -> None:
    if not attacks:
        raise PcvrError(f"{name} draws at least one attack: give some.")


def _row_for_each(names: Sequence[str], title: str) -> tuple[Figure, Axes]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(PAGE, 0.34 * len(names) + 1.5), layout="constrained")
    axes = figure.subplots()
    axes.set(yticks=range(len(names)), yticklabels=names, title=title)
    axes.grid(axis="y", visible=False)
    return figure, axes
