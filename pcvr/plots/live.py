"""The figure of a training under way: the loss, and what the defence tells of itself."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

from pcvr.plots.describe import described
from pcvr.plots.style import CLEAN, DEFENDED, INK, LINES, OTHER, TRIGGERED, figure_style

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from pcvr.training.live import LoggedStep

COLOURS = (DEFENDED, TRIGGERED, *OTHER)


def live_curves(points: Sequence[LoggedStep], steps: int) -> Figure:
    """Loss over optimiser steps, and below it a line for each figure of the defence.

    Args:
        points: from `pcvr.training.live.Recorder`, none at first.
        steps: at which step the stage under way ends; the axis reaches to there.
    """
    from matplotlib.figure import Figure

    names = list(dict.fromkeys(name for point in points for name in point.figures))
    with figure_style():
        figure = Figure(figsize=(7, 2.6 + 1.8 * bool(names)), layout="constrained")
        panels = figure.subplots(1 + bool(names), 1, sharex=True, squeeze=False)[:, 0]
        panels[0].plot([p.step for p in points], [p.loss for p in points], "-", color=CLEAN, lw=2, marker=".")
        panels[0].set(ylabel="loss", title="The training so far")
        for k, name in enumerate(names):
            told = [(p.step, p.figures[name]) for p in points if name in p.figures]
            panels[-1].plot(*zip(*told, strict=True), LINES[k % 4], color=COLOURS[k % 6], marker=".", label=name)
        if names:
            panels[-1].legend(fontsize=8)
        for before, point in pairwise(points):
            if point.stage != before.stage:
                panels[0].axvline(before.step, color=INK, lw=1, ls=":")
                panels[0].annotate(point.stage, (before.step, 1), (4, -4), xycoords=("data", "axes fraction"),
                                   textcoords="offset points", va="top", fontsize=9)  # fmt: skip
        panels[-1].set(xlabel="optimiser step")
        panels[-1].set_xlim(0, max(steps, 1))
        panels[0].set_ylim(bottom=0)
    if not points:
        return described(figure, "Axes of the loss over optimiser steps; nothing has been logged yet.")
    own = "; ".join(f"{name} {value:.3g}" for name, value in points[-1].figures.items())
    text = f"Loss over optimiser steps: from {points[0].loss:.2f} to {points[-1].loss:.2f} at step {points[-1].step}."
    return described(figure, f"{text} {own}")
