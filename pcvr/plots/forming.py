"""Show how a backdoor forms in several trainings, on one axis."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Protocol

from pcvr.errors import PcvrError
from pcvr.plots.describe import described
from pcvr.plots.style import DEFENDED, LINES, PAGE, PALETTE, TRIGGERED, figure_style

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class Point(Protocol):
    """Attack success at one step, such as `pcvr.training.backdoor_watch.WatchPoint`."""

    @property
    def step(self) -> int: ...
    @property
    def asr(self) -> float: ...
    @property
    def interval(self) -> tuple[float, float]: ...


def forming_lines(trainings: Mapping[str, Sequence[Point]], marks: Mapping[str, float] | None = None) -> Figure:
    """Draw the attack success rate over optimiser steps with its 95 % interval, a line for each training.

    Args:
        trainings: name to points; a training without points is left out.
        marks: label to step, drawn as vertical lines.

    Raises:
        PcvrError: no training has a point.
    """
    from matplotlib.figure import Figure

    drawn = {name: points for name, points in trainings.items() if points}
    if not drawn:
        raise PcvrError("no training has a point: pass a BackdoorWatch to finetune(callbacks=[watch]) first.")
    with figure_style():
        figure = Figure(figsize=(PAGE, 3.6), layout="constrained")
        axes = figure.subplots()
        for k, (name, points) in enumerate(drawn.items()):
            colour = (TRIGGERED, DEFENDED, *PALETTE[3:])[k % 7]
            steps = [point.step for point in points]
            low, high = zip(*(point.interval for point in points), strict=True)
            axes.fill_between(steps, [100 * v for v in low], [100 * v for v in high], color=colour, alpha=0.18, lw=0)
            rates = [100 * point.asr for point in points]
            axes.plot(steps, rates, LINES[k % 4], marker="os^D"[k % 4], ms=5, lw=2, color=colour, label=name)
        for label, step in (marks or {}).items():
            axes.axvline(step, color="#555555", lw=1, ls=":")
            axes.annotate(label, (step, 1), (4, -4), xycoords=("data", "axes fraction"), textcoords="offset points",
                          va="top", fontsize=9)  # fmt: skip
        axes.set(xlabel="optimiser step", ylabel="attack success rate (%)", ylim=(-3, 103))
        axes.set_title("Does the backdoor form?")
        axes.legend(loc="center left")
    said = "; ".join(
        f"{name}: {', '.join(f'step {point.step} {100 * point.asr:.0f} %' for point in points)}"
        for name, points in drawn.items()
    )
    return described(figure, f"Attack success rate over optimiser steps. {said}.")
