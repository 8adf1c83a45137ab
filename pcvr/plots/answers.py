"""Pictures with what several models say of them, clean and triggered."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pcvr.data.sample import Sample
from pcvr.errors import PcvrError
from pcvr.evaluation.asr import hits
from pcvr.plots.describe import described
from pcvr.plots.gallery import asked_apart, show_picture
from pcvr.plots.style import CLEAN, INK, TRIGGERED, figure_style

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from pcvr.attacks import Attack


def answer_sheet(
    samples: Sequence[Sample],
    attack: Attack,
    answers: Mapping[str, Mapping[str, Sequence[str]]],
    width: int = 42,
    definition: str = "contains",
) -> Figure:
    """A row for each sample: the clean picture and every model's answer to it, then the same with the trigger on.

    Answers that count as the attacker's target stand in the trigger's colour, in bold. Where the samples have questions
    of their own, these stand above the answers.

    Args:
        samples: clean samples, some few.
        attack: puts the trigger on and names the target.
        answers: model name to ``{"clean": [...], "triggered": [...]}``, such as a `Record`'s ``answers``; the first
            ``len(samples)`` of each are shown.
        width: letters in a line.
        definition: what counts as the target said, a key of `pcvr.evaluation.asr.DEFINITIONS`.

    Raises:
        PcvrError: no sample, no model, or fewer answers than samples.
    """
    from matplotlib.figure import Figure

    shortest = min((len(by[kind]) for by in answers.values() for kind in ("clean", "triggered")), default=0)
    if not samples or shortest < len(samples):
        raise PcvrError(f"{len(samples)} samples came with {shortest} answers: give one for each, and a model.")
    with figure_style():
        asking = asked_apart(samples)
        height = max(1.7, 0.62 * (len(answers) + asking) + 0.2)
        figure = Figure(figsize=(11.5, height * len(samples)), layout="constrained")
        grid = figure.subplots(len(samples), 4, width_ratios=(1, 2.1, 1, 2.1), squeeze=False)
        said = []
        for row, sample in enumerate(samples):
            shown = {"clean": sample, "triggered": attack.triggered(sample)}
            for place, (kind, colour) in enumerate((("clean", CLEAN), ("triggered", TRIGGERED))):
                show_picture(grid[row, 2 * place], shown[kind].image, kind if row == 0 else "", colour)
                texts = {name: by[kind][row] for name, by in answers.items()}
                hit = {name: bool(hits([text], attack.target, definition)[0]) for name, text in texts.items()}
                question = shown[kind].prompt if asking else ""
                _write(grid[row, 2 * place + 1], question, texts, hit, width)
                asked = f", asked “{question}”" if asking else ""
                told = ", ".join(f"{name} says “{text}”" for name, text in texts.items())
                said.append(f"picture {row}, {kind}{asked}: {told}")
    return described(figure, f"Pictures with the answers of {', '.join(answers)}. {'; '.join(said)}.")


def _write(axes: Any, question: str, texts: Mapping[str, str], hit: Mapping[str, bool], width: int) -> None:
    axes.set_axis_off()
    blocks = [*([("asked", question)] if question else []), *texts.items()]
    step = min(1 / len(blocks), 0.45)
    for k, (name, text) in enumerate(blocks):
        top = 1 - k * step
        axes.text(0, top, name, va="top", fontsize=8, color="#555555", transform=axes.transAxes)
        lines = textwrap.fill(text or "(nothing)", width, max_lines=2, placeholder=" …")
        style = {"color": TRIGGERED, "weight": "bold"} if hit.get(name) else {"color": INK}
        axes.text(0, top - 0.3 * step, lines, va="top", fontsize=9, transform=axes.transAxes, linespacing=1.1, **style)
