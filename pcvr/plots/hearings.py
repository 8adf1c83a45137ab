"""Show what the witnesses of PCVR's streaming gate said while the data went by."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from pcvr.defenses.pcvr.witness import PASSED
from pcvr.plots.describe import described
from pcvr.plots.style import CLEAN, INK, OTHER, TRIGGERED, figure_style

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from pcvr.defenses.pcvr.stream import Hearing

_LOOKS = {"undecided": (INK, "o"), "nothing": (CLEAN, "s"), "new": (OTHER[2], "D"), "trigger": (TRIGGERED, "^"),
          "prompt trigger": (TRIGGERED, "v")}  # fmt: skip
"""Colour and marker of each verdict."""


def hearing_curve(hearings: Sequence[Hearing]) -> Figure:
    """Draw the fraction of the suspicious samples that were told apart at each hearing, with its verdict and chance.

    Args:
        hearings: of a `pcvr.defenses.pcvr.stream.StreamGate`; none where too few samples went by.
    """
    from matplotlib.figure import Figure

    with figure_style():
        figure = Figure(figsize=(7, 3.2), layout="constrained")
        axes = figure.subplots()
        axes.plot([h.step for h in hearings], [h.told_apart for h in hearings], color=INK, lw=1)
        for verdict in dict.fromkeys(h.verdict for h in hearings):
            mine = [h for h in hearings if h.verdict == verdict]
            colour, marker = _LOOKS[verdict]
            axes.plot([h.step for h in mine], [h.told_apart for h in mine], marker, color=colour, label=verdict)
        axes.axhline(PASSED, color=INK, lw=1, ls=":", label=f"chance: {PASSED:g}")
        axes.set(xlabel="optimiser step", ylabel="fraction told apart", ylim=(-0.03, 1.03))
        axes.set_title("Can suspicious samples be told from others?")
        axes.legend(loc="best", title="verdict")
        if not hearings:
            axes.text(0.5, 0.5, "no hearing yet", ha="center", transform=axes.transAxes)
    said = "; ".join(f"step {h.step}: {h.told_apart:.2f}, {h.verdict}" for h in hearings) or "there was no hearing"
    return described(
        figure,
        f"Fraction of the suspicious samples that were told apart at each hearing; chance is {PASSED:g}. {said}.",
    )
