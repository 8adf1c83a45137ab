"""Decoding drawn: the likeliest words at each step of an answer, and how often answers are right."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from pcvr.data.sample import Image
from pcvr.errors import PcvrError
from pcvr.plots.describe import described
from pcvr.plots.gallery import show_picture
from pcvr.plots.style import CLEAN, INK, TRIGGERED, figure_style

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from pcvr.analysis.decoding import Steps
    from pcvr.analysis.question_accuracy import Grade

_OTHERS = "#bcbcbc"


def step_bars(steps: Steps, picture: Image | None = None, top: int = 5, columns: int = 4, most: int = 15) -> Figure:
    """The likeliest words before each word of an answer; the one that was said is dark.

    Args:
        steps: from `pcvr.analysis.decoding.decode_steps`.
        picture: uint8 ``[H, W, 3]``, shown in front of the first step.
        top: words in a panel.
        columns: panels in a row.
        most: steps at most, from the first.

    Raises:
        PcvrError: nothing is to be drawn.
    """
    from matplotlib.figure import Figure

    count = min(len(steps.tokens), most)
    if min(count, top, columns) < 1:
        raise PcvrError(f"{count} steps, {top} words, {columns} columns: give at least 1 of each, or nothing is drawn.")
    front = 0 if picture is None else 1
    rows = math.ceil((front + count) / columns)
    columns = math.ceil((front + count) / rows)
    said = []
    with figure_style():
        figure = Figure(figsize=(2.75 * columns, (0.2 * top + 0.72) * rows + 0.35), layout="constrained")
        grid = figure.subplots(rows, columns, squeeze=False).ravel()
        if picture is not None:
            show_picture(grid[0], picture)
        for step, axes in enumerate(grid[front : front + count]):
            found = steps.top(step, top)
            word_bars(axes, found, steps.tokens[step])
            axes.set_title(f"{step + 1}. {_before(steps.tokens[:step])}", fontsize=8.5, loc="left")
            axes.tick_params(axis="x", labelsize=7.5)
            said.append(f"step {step + 1}: " + ", ".join(f"{word} {p:.2f}" for word, p in found[:3]))
        for axes in grid[front + count :]:
            axes.set_axis_off()
        figure.supxlabel("probability of the next word", fontsize=9)
    rest = f" (the first {count} of {len(steps.tokens)} steps)" if count < len(steps.tokens) else ""
    return described(figure, f"The likeliest words at each step of the answer “{steps.text}”{rest}: {'; '.join(said)}.")


def word_bars(axes: Any, found: list[tuple[str, float]], said: str) -> None:
    """Bars of words with their probabilities, from `Steps.top`; the bar of the word `said` is dark, the others pale."""
    at = np.arange(len(found))[::-1]
    colours = [CLEAN if word == said else _OTHERS for word, _ in found]
    axes.barh(at, [p for _, p in found], height=0.75, color=colours)
    axes.set_yticks(at, [word for word, _ in found], fontsize=8.5)
    axes.set(xlim=(0, 1.02))
    axes.grid(axis="y", visible=False)


def _before(tokens: tuple[str, ...]) -> str:
    """The end of what was said so far."""
    if not tokens:
        return "(beginning)"
    text = " ".join(tokens[-3:])
    return f"{'… ' if len(tokens) > 3 else ''}{text} …"


def quiz_bars(marks: Sequence[Grade]) -> Figure:
    """The share of right answers by kind of question, with 95 % intervals and what guessing would get.

    Args:
        marks: from `pcvr.analysis.question_accuracy.question_accuracy`.

    Raises:
        PcvrError: no marks.
    """
    from matplotlib.figure import Figure

    from pcvr.evaluation.intervals import wilson

    if not marks:
        raise PcvrError("there is nothing to draw: give at least one mark.")
    at = np.arange(len(marks))[::-1]
    share = np.array([mark.right / mark.n for mark in marks])
    low, high = np.array([wilson(mark.right, mark.n) for mark in marks]).T
    with figure_style():
        figure = Figure(figsize=(7.6, 0.36 * len(marks) + 1.2), layout="constrained")
        axes = figure.subplots()
        axes.barh(at, 100 * share, height=0.68, color=CLEAN, label="right (95 % interval)")
        reach = 100 * np.maximum([share - low, high - share], 0)
        axes.errorbar(100 * share, at, xerr=reach, fmt="none", ecolor=INK, lw=1, capsize=2.5)
        axes.plot(
            [100 * mark.guess / mark.n for mark in marks], at, "D", color=TRIGGERED, ms=5, label="without looking"
        )
        axes.set_yticks(at, [f"{mark.kind} ({mark.n})" for mark in marks])
        axes.set(xlim=(0, 103), xlabel="answers that are right, word for word (%)")
        axes.grid(axis="y", visible=False)
        figure.legend(loc="outside lower center", ncols=2, fontsize=9)
    said = "; ".join(
        f"{mark.kind}: {mark.right} of {mark.n} right, {mark.guess} by guessing the commonest answer" for mark in marks
    )
    return described(figure, f"Bars of right answers by kind of question. {said}.")
