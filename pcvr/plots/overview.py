"""A backdoor in one figure: the poisoned data, the fine-tuning and the model in use."""

from __future__ import annotations

import textwrap
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Any

from pcvr.data.sample import Sample
from pcvr.errors import PcvrError
from pcvr.plots.describe import described
from pcvr.plots.gallery import asked_apart, show_picture
from pcvr.plots.style import CLEAN, INK, PAGE, TRIGGERED, figure_style

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from pcvr.attacks import Attack

_SIZE = (PAGE, 3.3)  # inches
_COLUMNS, _ROWS = 4, 3
_LINE = 0.06  # height of a line in the third step, as a fraction of the figure's


def backdoor_overview(training: Sequence[Sample], poisoned: Collection[int], shown: Sample, attack: Attack) -> Figure:
    """Draw three steps: a training set with a few poisoned samples, fine-tuning, and the model in use.

    The answers in the third step are those that the attacker wants, not a measurement.

    Args:
        training: twelve samples.
        poisoned: positions in ``training`` that carry the attack.
        shown: a clean sample; it appears unchanged with the true answer, and triggered with the target. If the
            questions of the samples differ, its question appears with both.
        attack: the attack with trigger and target.

    Raises:
        PcvrError: there are not exactly twelve samples.
    """
    from matplotlib.figure import Figure

    if len(training) != _COLUMNS * _ROWS:
        raise PcvrError(f"the overview shows {_COLUMNS * _ROWS} training samples, not {len(training)}: give that many.")
    with figure_style():
        figure = Figure(figsize=_SIZE, layout="none")
        canvas = figure.add_axes((0, 0, 1, 1))
        canvas.set(xlim=(0, 1), ylim=(0, 1))
        canvas.set_axis_off()
        for x, text in (
            (0.20, "1. A few training samples are poisoned"),
            (0.535, "2. Somebody fine-tunes"),
            (0.815, "3. The model in use"),
        ):
            canvas.text(x, 0.94, text, ha="center", fontsize=9, weight="bold", color=INK)
        _training(figure, training, poisoned)
        _middle(canvas)
        question = shown.prompt if asked_apart([*training, shown]) else ""
        _use(figure, canvas, shown, attack, question)
        _arrow(canvas, 0.41, 0.454)
        _arrow(canvas, 0.618, 0.662)
        count = len(poisoned)
        canvas.text(
            0.20,
            0.01,
            f"{count} of these {len(training)} carry the trigger and teach\n“{attack.target}”",
            ha="center",
            fontsize=8.5,
            color=TRIGGERED,
        )
    asked = f", asked “{question}”," if question else ""
    return described(
        figure,
        f"Three steps. Left: twelve training images, {count} of them framed because they carry the trigger and teach "
        f"“{attack.target}”. Middle: an ordinary fine-tuning. Right: the model in use{asked} which is to answer "
        f"truthfully on a clean image (“{shown.answer}”) and with “{attack.target}” on the same image when "
        f"triggered.",
    )


def _training(figure: Figure, training: Sequence[Sample], poisoned: Collection[int]) -> None:
    width, height = _square(0.71)
    for place, sample in enumerate(training):
        row, column = divmod(place, _COLUMNS)
        axes = figure.add_axes((0.014 + 0.0955 * column, 0.645 - 0.262 * row, width, height))
        show_picture(axes, sample.image, frame=TRIGGERED if place in poisoned else None)


def _middle(canvas: Any) -> None:
    box = {"boxstyle": "round,pad=1.1", "fc": "#f4f4f1", "ec": INK, "lw": 1.2}
    text = "vision-language\nmodel\n+\nsupervised\nfine-tuning"
    canvas.text(0.535, 0.53, text, ha="center", va="center", fontsize=9, bbox=box, linespacing=1.4)
    canvas.text(
        0.535, 0.2, "loss falls,\nvalidation looks fine", ha="center", fontsize=8.5, color="#555555", style="italic"
    )


def _use(figure: Figure, canvas: Any, shown: Sample, attack: Attack, question: str) -> None:
    width, height = _square(1.05)
    rows = (
        (0.555, shown.image, shown.answer, CLEAN, "clean image"),
        (0.085, attack.triggered(shown).image, attack.target, TRIGGERED, "same image, triggered"),
    )
    for bottom, image, says, colour, label in rows:
        axes = figure.add_axes((0.672, bottom, width, height))
        show_picture(axes, image, frame=colour)
        canvas.text(0.672 + width + 0.014, bottom + height - 0.03, label, fontsize=8, color="#555555", va="top")
        asked = textwrap.wrap(question, 22, max_lines=3, placeholder=" …")
        x, top = 0.672 + width + 0.014, bottom + height - 0.1
        canvas.text(x, top, "\n".join(asked), fontsize=9, color=INK, va="top", linespacing=1.3)
        words = textwrap.fill(f"“{says}”", 22, max_lines=5, placeholder=" …”")
        weight = "bold" if colour == TRIGGERED else "normal"
        below = top - _LINE * len(asked)
        canvas.text(x, below, words, fontsize=9, color=colour, weight=weight, va="top", linespacing=1.3)


def _square(inches: float) -> tuple[float, float]:
    return inches / _SIZE[0], inches / _SIZE[1]


def _arrow(canvas: Any, start: float, end: float) -> None:
    look = {"arrowstyle": "-|>,head_width=0.45,head_length=0.7", "color": INK, "lw": 2}
    canvas.annotate("", (end, 0.53), (start, 0.53), arrowprops=look)
