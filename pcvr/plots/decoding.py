"""Show decoding: the likeliest words at each step of an answer, and the accuracy of answers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from pcvr.data.sample import Image
from pcvr.errors import PcvrError
from pcvr.plots.describe import described
from pcvr.plots.gallery import show_picture
from pcvr.plots.style import CLEAN, INK, PAGE, TRIGGERED, figure_style

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from pcvr.analysis.decoding import Steps
    from pcvr.analysis.question_accuracy import Grade

_OTHERS = "#bcbcbc"


def decoding_bars(steps: Steps, image: Image | None = None, top: int = 5, columns: int = 4, most: int = 15) -> Figure:
    """Draw the likeliest words before each word of an answer; the chosen one is dark.

    Args:
        steps: from `pcvr.analysis.decoding.decode_steps`.
        image: uint8 ``[H, W, 3]``, shown before the first step.
        top: number of words in a panel.
        columns: number of panels in a row.
        most: largest number of steps.

    Raises:
        PcvrError: there is nothing to draw.
    """
    from matplotlib.figure import Figure

    count = min(len(steps.tokens), most)
    if min(count, top, columns) < 1:
        raise PcvrError(f"{count} steps, {top} words, {columns} columns: give at least 1 of each, or nothing is drawn.")
    front = 0 if image is None else 1
    rows = math.ceil((front + count) / columns)
    columns = math.ceil((front + count) / rows)
    said = []
    with figure_style():
        figure = Figure(figsize=(min(2.75 * columns, PAGE), (0.2 * top + 0.72) * rows + 0.35), layout="constrained")
        grid = figure.subplots(rows, columns, squeeze=False).ravel()
        if image is not None:
            show_picture(grid[0], image)
        for step, axes in enumerate(grid[front : front + count]):
            found = steps.top(step, top)
            word_bars(axes, found, steps.tokens[step])
            axes.set_title(f"{step + 1}. {_before(steps.tokens[:step])}", fontsize=8.5, loc="left")
            axes.tick_params(axis="x", labelsize=8)
            axes.set_xticks((0, 0.5, 1), ("0", "0.5", "1"))
            said.append(f"step {step + 1}: " + ", ".join(f"{word} {p:.2f}" for word, p in found[:3]))
        for axes in grid[front + count :]:
            axes.set_axis_off()
        figure.supxlabel("probability of the next word", fontsize=9)
    rest = f" (the first {count} of {len(steps.tokens)} steps)" if count < len(steps.tokens) else ""
    return described(figure, f"The likeliest words at each step of the answer “{steps.text}”{rest}: {'; '.join(said)}.")


def word_bars(axes: Any, found: list[tuple[str, float]], said: str) -> None:
    """Draw words with their probabilities, from `Steps.top`, as bars; the bar of the word `said` is dark."""
    at = np.arange(len(found))[::-1]
    colours = [CLEAN if word == said else _OTHERS for word, _ in found]
    axes.barh(at, [p for _, p in found], height=0.75, color=colours)
    axes.set_yticks(at, [word for word, _ in found], fontsize=8.5)
    axes.set(xlim=(0, 1.02))
    axes.grid(axis="y", visible=False)


def _before(tokens: tuple[str, ...]) -> str:
    """Return the end of the answer so far."""
    if not tokens:
        return "(beginning)"
    text = " ".join(tokens[-3:])
    return f"{'… ' if len(tokens) > 3 else ''}{text} …"


def accuracy_bars(grades: Sequence[Grade]) -> Figure:
    """Draw the fraction of correct answers by kind of question, with 95 % intervals and the accuracy of guessing.

    Args:
        grades: from `pcvr.analysis.question_accuracy.question_accuracy`.

    Raises:
        PcvrError: there are no grades.
    """
    from matplotlib.figure import Figure

    from pcvr.evaluation.intervals import wilson

    if not grades:
        raise PcvrError("there is nothing to draw: give at least one grade.")
    at = np.arange(len(grades))[::-1]
    accuracy = np.array([grade.correct / grade.n for grade in grades])
    low, high = np.array([wilson(grade.correct, grade.n) for grade in grades]).T
    with figure_style():
        figure = Figure(figsize=(7.6, 0.36 * len(grades) + 1.2), layout="constrained")
        axes = figure.subplots()
        axes.barh(at, 100 * accuracy, height=0.68, color=CLEAN, label="correct (95 % interval)")
        reach = 100 * np.maximum([accuracy - low, high - accuracy], 0)
        axes.errorbar(100 * accuracy, at, xerr=reach, fmt="none", ecolor=INK, lw=1, capsize=2.5)
        axes.plot(
            [100 * grade.guess / grade.n for grade in grades], at, "D", color=TRIGGERED, ms=5, label="without looking"
        )
        axes.set_yticks(at, [f"{grade.kind} ({grade.n})" for grade in grades])
        axes.set(xlim=(0, 103), xlabel="correct answers, word for word (%)")
        axes.grid(axis="y", visible=False)
        figure.legend(loc="outside lower center", ncols=2, fontsize=9)
    said = "; ".join(
        f"{grade.kind}: {grade.correct} of {grade.n} correct, {grade.guess} by guessing the commonest answer"
        for grade in grades
    )
    return described(figure, f"Bars of correct answers by kind of question. {said}.")
