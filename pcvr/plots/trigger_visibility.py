"""How far each trigger moves what the tower sees, and how well a probe finds it there."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from pcvr.errors import PcvrError
from pcvr.plots.describe import described
from pcvr.plots.style import CLEAN, INK, TRIGGERED, figure_style

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from pcvr.evaluation.trigger_visibility import FeatureShift, Found


def tower_distances(seen: Mapping[str, FeatureShift], title: str = "") -> Figure:
    """For each attack the median distance with its middle half, and how far triggered pictures lie apart.

    Args:
        seen: attack to what :func:`pcvr.evaluation.trigger_visibility.seen_by_tower` found.
        title: above.

    Raises:
        PcvrError: no attacks.
    """
    from matplotlib.figure import Figure

    if not seen:
        raise PcvrError("tower_distances draws one attack or more: give some.")
    order = sorted(seen, key=lambda name: float(np.median(seen[name].moved)))
    with figure_style():
        figure = Figure(figsize=(9, 0.34 * len(order) + 1.5), layout="constrained")
        axes = figure.subplots()
        for row, name in enumerate(order):
            low, middle, high = np.quantile(seen[name].moved, (0.25, 0.5, 0.75))
            axes.plot([low, high], [row, row], color=TRIGGERED, lw=5, alpha=0.35, solid_capstyle="round")
            label = ("from clean to triggered", "between two triggered pictures") if row == 0 else (None, None)
            axes.plot(middle, row, "o", color=TRIGGERED, ms=7, label=label[0])
            axes.plot(seen[name].apart.mean(), row, "D", color=CLEAN, ms=6, mfc="none", mew=1.6, label=label[1])
        axes.axvline(1, color=INK, lw=1, ls=":")
        axes.set(yticks=range(len(order)), yticklabels=order, title=title)
        axes.set_xlabel("distance of the tower's features (1: between two clean pictures)")
        axes.set_xlim(left=0)
        axes.grid(axis="y", visible=False)
        figure.legend(loc="outside lower right", ncols=2)
    said = "; ".join(f"{name}: {np.median(seen[name].moved):.2f}" for name in order)
    return described(figure, f"Dots: how far each trigger moves the tower's features. {said}.")


def probe_bars(found: Mapping[str, Found], title: str = "") -> Figure:
    """For each attack the share of triggered pictures that a linear probe finds, and its false alarms.

    Args:
        found: attack to what :func:`pcvr.evaluation.trigger_visibility.found_by_probe` found.
        title: above.

    Raises:
        PcvrError: no attacks.
    """
    from matplotlib.figure import Figure

    if not found:
        raise PcvrError("probe_bars draws one attack or more: give some.")
    rows = range(len(found))
    with figure_style():
        figure = Figure(figsize=(9, 0.34 * len(found) + 1.5), layout="constrained")
        axes = figure.subplots()
        axes.barh(rows, [100 * f.share for f in found.values()], color=TRIGGERED, height=0.6, label="found")
        alarms = [100 * f.alarms for f in found.values()]
        axes.plot(alarms, rows, "D", color=CLEAN, ms=6, mfc="none", mew=1.6, label="false alarms")
        axes.set(yticks=rows, yticklabels=list(found), title=title, xlim=(-2, 102), xlabel="pictures (%)")
        axes.invert_yaxis()
        axes.grid(axis="y", visible=False)
        figure.legend(loc="outside lower right", ncols=2)
    said = "; ".join(f"{name}: {100 * f.share:.0f} %" for name, f in found.items())
    return described(figure, f"Bars: triggered pictures that a linear probe on the tower's features finds. {said}.")
