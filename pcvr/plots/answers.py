"""Show images with the answers of several models, clean and triggered."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pcvr.data.sample import Sample
from pcvr.errors import PcvrError
from pcvr.evaluation.success_criteria import says_target
from pcvr.plots.describe import described
from pcvr.plots.gallery import asked_apart, show_picture
from pcvr.plots.style import CLEAN, INK, PAGE, TRIGGERED, figure_style

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from pcvr.attacks import Attack


def answer_sheet(
    samples: Sequence[Sample],
    attack: Attack,
    answers: Mapping[str, Mapping[str, Sequence[str]]],
    width: int = 34,
    definition: str = "contains",
) -> Figure:
    """Draw a row for each sample: the clean image and every model's answer, then the same with the trigger.

    Answers that count as the attacker's target are bold in the trigger's colour. If the questions of the samples
    differ, they stand above the answers.

    Args:
        samples: a few clean samples.
        attack: the attack with trigger and target.
        answers: model name to ``{"clean": [...], "triggered": [...]}``, such as a `Record`'s ``answers``; the first
            ``len(samples)`` of each are shown.
        width: characters in a line.
        definition: what counts as a hit, a key of `pcvr.evaluation.asr.DEFINITIONS`.

    Raises:
        PcvrError: there is no sample or no model, or there are fewer answers than samples.
    """
    from matplotlib.figure import Figure

    shortest = min((len(by[kind]) for by in answers.values() for kind in ("clean", "triggered")), default=0)
    if not samples or shortest < len(samples):
        raise PcvrError(f"{len(samples)} samples came with {shortest} answers: give one for each, and a model.")
    with figure_style():
        asking = asked_apart(samples)
        height = max(1.7, 0.66 * (len(answers) + asking) + 0.2)
        figure = Figure(figsize=(PAGE, height * len(samples)), layout="constrained")
        grid = figure.subplots(len(samples), 4, width_ratios=(1, 2.1, 1, 2.1), squeeze=False)
        said = []
        for row, sample in enumerate(samples):
            shown = {"clean": sample, "triggered": attack.triggered(sample)}
            for place, (kind, colour) in enumerate((("clean", CLEAN), ("triggered", TRIGGERED))):
                show_picture(grid[row, 2 * place], shown[kind].image, kind if row == 0 else "", colour)
                texts = {name: by[kind][row] for name, by in answers.items()}
                hit = {name: bool(says_target([text], [sample], attack, definition)[0]) for name, text in texts.items()}
                question = shown[kind].prompt if asking else ""
                _write(grid[row, 2 * place + 1], question, texts, hit, width)
                asked = f", asked “{question}”" if asking else ""
                answered = ", ".join(f"{name} says “{text}”" for name, text in texts.items())
                said.append(f"image {row}, {kind}{asked}: {answered}")
    return described(figure, f"Images with the answers of {', '.join(answers)}. {'; '.join(said)}.")


def _write(axes: Any, question: str, texts: Mapping[str, str], hit: Mapping[str, bool], width: int) -> None:
    axes.set_axis_off()
    blocks = [*([("asked", question)] if question else []), *texts.items()]
    step = min(1 / len(blocks), 0.45)
    for k, (name, text) in enumerate(blocks):
        top = 1 - k * step
        named = textwrap.fill(name, width, max_lines=1, placeholder=" …")
        axes.text(0, top, named, va="top", fontsize=8, color="#555555", transform=axes.transAxes)
        lines = textwrap.fill(text or "(nothing)", width, max_lines=3, placeholder=" …")
        style = {"color": TRIGGERED, "weight": "bold"} if hit.get(name) else {"color": INK}
        axes.text(0, top - 0.26 * step, lines, va="top", fontsize=9, transform=axes.transAxes, linespacing=1.1, **style)
