"""Show which defence fits what a defender has, as questions from top to bottom."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING

from pcvr.experiments.access import ACCESS, STEPS, Step, by_needs
from pcvr.plots.describe import described
from pcvr.plots.style import CLEAN, DEFENDED, INK, OTHER, figure_style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_WIDE, _ASK = 66, 25  # characters of a line in a box of defences, and in a question
NOTHING = "no defence of this table"


def decision_picture() -> Figure:
    """Draw the questions of `pcvr.experiments.access.STEPS`, and the defences that each answer leads to."""
    from matplotlib.figure import Figure

    texts = [leaf_text(step) for step in STEPS]
    heights = [0.5 + 0.21 * max(2, text.count("\n") + 1) for text in texts]
    tall = sum(heights)
    with figure_style():
        figure = Figure(figsize=(8.2, tall + 0.2), layout="constrained")
        axes = figure.subplots()
        axes.set(xlim=(0, 8.2), ylim=(-tall, 0))
        axes.set_axis_off()
        y = 0.0
        for step, text, height in zip(STEPS, texts, heights, strict=True):
            middle = y - height / 2
            if step.question:
                _box(axes, 1.3, middle, textwrap.fill(step.question, _ASK), CLEAN)
                _arrow(axes, (2.55, middle), (3.55, middle), step.leaves)
                other = "no" if step.leaves == "yes" else "yes"
                end = -tall + heights[-1] / 2 if step is STEPS[-2] else y - height - 0.1
                _arrow(axes, (1.3, middle - 0.36), (1.3, end), other)
            else:
                axes.annotate("", (3.55, middle), (1.3, middle), arrowprops={"arrowstyle": "->", "color": INK})
            _box(axes, 3.65, middle, text, OTHER[2] if step.needs is None else DEFENDED, left=True)
            y -= height
    said = " ".join(
        f"{step.question} If {step.leaves}: {' '.join(text.split())}." if step.question
        else f"Otherwise: {' '.join(text.split())}."
        for step, text in zip(STEPS, texts, strict=True)
    )  # fmt: skip
    return described(figure, f"Questions that lead to the access that is needed for each defence. {said}")


def leaf_text(step: Step) -> str:
    """Return the defences that a step leads to, a line for each moment at which they act."""
    if step.needs is None:
        return NOTHING
    rows = by_needs()[step.needs]
    lines = []
    for when in dict.fromkeys(ACCESS[row].when for row in rows):
        names = ", ".join(row for row in rows if ACCESS[row].when == when)
        lines.append(textwrap.fill(f"{when}: {names}", _WIDE, subsequent_indent="    "))
    return "\n".join(lines)


def _box(axes: Axes, x: float, y: float, text: str, colour: str, left: bool = False) -> None:
    look = {"boxstyle": "round,pad=0.45", "fc": "white", "ec": colour, "lw": 1.6}
    axes.text(x, y, text, ha="left" if left else "center", va="center", fontsize=9, bbox=look, color=INK)


def _arrow(axes: Axes, start: tuple[float, float], end: tuple[float, float], word: str) -> None:
    axes.annotate("", end, start, arrowprops={"arrowstyle": "->", "color": INK})
    across = start[1] == end[1]
    at = ((start[0] + end[0]) / 2, start[1]) if across else (start[0], (start[1] + end[1]) / 2)
    axes.annotate(word, at, (0, 3) if across else (5, 0), textcoords="offset points", fontsize=9,
                  ha="center" if across else "left", va="bottom" if across else "center")  # fmt: skip
