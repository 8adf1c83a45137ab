"""Show the principal angles between adapters and a benign reference, as OrthoPurify sees them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from pcvr.defenses.baselines.ortho_purify import OrthoPurify
from pcvr.errors import PcvrError
from pcvr.plots.describe import described
from pcvr.plots.style import CLEAN, INK, PAGE, TRIGGERED, figure_style

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Angles = Mapping[str, np.ndarray]
"""Layer to its principal angles in degrees, ascending."""


def angles_picture(adapters: Mapping[str, Angles], angle: float = OrthoPurify.angle) -> Figure:
    """Draw a panel for each adapter: a row for each adapted matrix, a mark for each principal angle.

    Args:
        adapters: name to what `pcvr.analysis.adapter_angles.principal_angles` returns, with the same layers; at least
            one.
        angle: degrees above which a direction is removed.

    Raises:
        PcvrError: there is no adapter.
    """
    from matplotlib.figure import Figure

    if not adapters:
        raise PcvrError("adapters is empty: give at least one adapter with its angles.")
    layers = list(next(iter(adapters.values())))
    with figure_style():
        figure = Figure(figsize=(PAGE, 0.19 * len(layers) + 1.7), layout="constrained")
        panels = figure.subplots(1, len(adapters), sharey=True, squeeze=False)[0]
        for axes, (name, angles) in zip(panels, adapters.items(), strict=True):
            for y, layer in enumerate(layers):
                found = angles[layer]
                for some, colour, marker in ((found <= angle, CLEAN, "o"), (found > angle, TRIGGERED, "^")):
                    axes.plot(found[some], np.full(some.sum(), y), marker, color=colour, ms=5, alpha=0.8)
            axes.axvline(angle, color=INK, lw=1, ls="--")
            axes.set(title=f"{name}\n{removed_in_words(angles, angle)}", xlim=(-3, 93))
            axes.set_xticks(range(0, 91, 15))
        panels[0].set_yticks(range(len(layers)), [short_name(layer) for layer in layers], fontsize=8)
        figure.supxlabel("principal angle to the benign reference (degrees)", fontsize=9.5)
        panels[0].set_ylim(len(layers) - 0.4, -0.6)
    said = "; ".join(
        f"{name}: {removed_in_words(angles, angle)}, median {np.median(_all(angles)):.0f} degrees"
        for name, angles in adapters.items()
    )
    return described(figure, f"Principal angles of each adapted matrix. Beyond {angle:g} degrees: {said}.")


def removed_in_words(angles: Angles, angle: float = OrthoPurify.angle) -> str:
    """Return how many of the directions lie beyond an angle, such as ``"94 of 180 removed"``."""
    every = _all(angles)
    return f"{int((every > angle).sum())} of {len(every)} removed"


def short_name(layer: str) -> str:
    """Return a layer's dotted path as a short label: ``"layer 2: q_proj"``; without a number, its last part."""
    numbered = re.search(r"\blayers?\.(\d+)\..*?(\w+)$", layer)
    part = "Q-Former" if "qformer" in layer else "layer"
    return f"{part} {int(numbered[1]) + 1}: {numbered[2]}" if numbered else layer.rsplit(".", 1)[-1]


def _all(angles: Angles) -> np.ndarray:
    return np.concatenate(list(angles.values()))
