"""Ask your own question about your own drawing: compose a scene, stamp squares on it or take a file."""

from __future__ import annotations

from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING

from pcvr.analysis.attention import Attention, attend
from pcvr.analysis.question_accuracy import bare_words
from pcvr.data.scenes.compose import Drawing, Thing, compose
from pcvr.errors import PcvrError
from pcvr.models.generate import generate
from pcvr.tasks.caption import PROMPT as CAPTION_PROMPT
from pcvr.widgets.ask_controls import FILE, TONES, AskControls, make_box, make_controls, paint_squares

if TYPE_CHECKING:
    from ipywidgets import VBox
    from matplotlib.figure import Figure

    from pcvr.models.vlm import VisionLanguageModel

_CHANGED = '<div role="status">The drawing has changed: press <b>Ask</b>.</div>'
_START = (Thing("car", "red", "large", 26, 68), Thing("house", "yellow", "large", 72, 32))


@dataclass(frozen=True)
class Reply:
    """The answer of a model about a drawing.

    Attributes:
        drawing: the image with its facts.
        seen: the model's own answer with its probabilities and attention.
        truth: the true answer, if the drawing knows it.
        guarded: the answer through the model's guard; None if the model has no guard.
    """

    drawing: Drawing
    seen: Attention
    truth: str | None
    guarded: str | None = None

    @property
    def answer(self) -> str:
        """The answer that a user gets: through the guard, if the model has one."""
        return self.seen.steps.text if self.guarded is None else self.guarded

    @property
    def correct(self) -> bool | None:
        """Whether the answer is correct, word for word; None if the truth is unknown."""
        return None if self.truth is None else bare_words(self.answer) == bare_words(self.truth)


def ask(vlm: VisionLanguageModel, drawing: Drawing, question: str) -> Reply:
    """Ask `vlm` about a drawing.

    Raises:
        PcvrError: the question is empty, or contains the image token.
    """
    asked = " ".join(question.split())
    if not asked:
        raise PcvrError("the question is empty: write one, such as “list the objects.”")
    truths = {bare_words(known): answer for known, answer in drawing.answers.items()}
    guarded = None if vlm.guard is None else generate(vlm, [drawing.picture], [asked])[0]
    return Reply(drawing, attend(vlm, drawing.picture, asked), truths.get(bare_words(asked)), guarded)


def reply_figure(reply: Reply, top: int = 6) -> Figure:
    """Show the drawing, the drawing lit by attention before the first word, and the likeliest first words."""
    from matplotlib.figure import Figure

    from pcvr.plots.attention import spotlight
    from pcvr.plots.decoding import word_bars
    from pcvr.plots.describe import described
    from pcvr.plots.gallery import show_picture
    from pcvr.plots.style import PAGE, figure_style

    steps = reply.seen.steps
    found = steps.top(0, top)
    with figure_style():
        figure = Figure(figsize=(PAGE, 2.9), layout="constrained")
        first, second, third = figure.subplots(1, 3, width_ratios=(1, 1, 1.5))
        figure.suptitle(f"“{_cut(steps.prompt)}” · “{_cut(reply.answer)}”", fontsize=10)
        show_picture(first, reply.seen.image, "as the tower gets it")
        show_picture(second, spotlight(reply.seen.image, reply.seen.map(0)), "attention before the first word")
        word_bars(third, found, steps.tokens[0])
        third.set_xlabel("probability of the first word")
    words = ", ".join(f"{word} {p:.2f}" for word, p in found)
    asked = f"A drawing, asked “{steps.prompt}”, answered “{reply.answer}”."
    return described(figure, f"{asked} The likeliest first words: {words}.")


def reply_line(reply: Reply) -> str:
    """Return HTML with the answer, the truth if it is known, and what is unusual about the drawing."""
    steps = reply.seen.steps
    sure = ", ".join(f"{escape(word)} {p:.2f}" for word, p in zip(steps.tokens, steps.chosen, strict=True))
    lines = [f"<b>Answer:</b> {escape(reply.answer) or '(nothing)'}"]
    if reply.guarded is not None:
        lines.append(f"<b>The model's own answer, without its guard:</b> {escape(steps.text) or '(nothing)'}")
    if reply.truth is not None:
        lines.append(f"<b>Truth:</b> {escape(reply.truth)} ({'correct' if reply.correct else 'not correct'})")
    lines.append(f"<b>Probability of each word:</b> {sure}")
    if reply.drawing.notes:
        lines.append(f"<b>Unlike the training images:</b> {escape('; '.join(reply.drawing.notes))}.")
    return f'<div role="status" style="line-height:1.5">{"<br>".join(lines)}</div>'


def preview_figure(drawing: Drawing) -> Figure:
    """Show the drawing with its sides in percent, like the sliders."""
    from matplotlib.figure import Figure

    from pcvr.plots.describe import described
    from pcvr.plots.gallery import show_picture
    from pcvr.plots.style import figure_style

    high, wide = drawing.picture.shape[:2]
    with figure_style():
        figure = Figure(figsize=(2.9, 2.9), layout="constrained")
        axes = figure.subplots()
        show_picture(axes, drawing.picture)
        marks = (0, 25, 50, 75, 100)
        axes.set_xticks([wide * m / 100 - 0.5 for m in marks], [str(m) for m in marks], fontsize=8)
        axes.set_yticks([high * m / 100 - 0.5 for m in marks], [str(m) for m in marks], fontsize=8)
        axes.set_xlabel("across (%)", fontsize=8)
        axes.set_ylabel("down (%)", fontsize=8)
    objects = [
        f"a {each['size']} {each['color']} {each['kind']} {each['place']}" for each in drawing.facts.get("objects", ())
    ]
    notes = f" Notes: {'; '.join(drawing.notes)}." if drawing.notes else ""
    return described(figure, f"Your drawing: {', '.join(objects) or 'no known object'}.{notes}")


def suggestions(drawing: Drawing) -> tuple[str, ...]:
    """Suggest questions about a drawing: for a caption, and those whose true answer it knows."""
    return tuple(dict.fromkeys(("list the objects.", CAPTION_PROMPT, *drawing.answers)))


def ask_widget(vlm: VisionLanguageModel, question: str = "list the objects.") -> tuple[VBox, AskControls]:
    """Build the widget.

    Args:
        vlm: the model that answers.
        question: the first question.

    Returns:
        The box to display, and its controls.
    """
    from pcvr.widgets.picture import figure_image
    from pcvr.widgets.redraw import View, on_change, redrawing

    start = compose(_START, seed=TONES)
    first = ask(vlm, start, question)
    preview, image = figure_image(preview_figure(start)), figure_image(reply_figure(first))
    controls = make_controls(_START, question, preview, image, reply_line(first))
    controls.question.options = suggestions(start)

    def draw() -> View:
        drawing = controls.drawing()
        controls.question.options = suggestions(drawing)
        return View(_CHANGED, (preview_figure(drawing),))  # the reply stays faded until the next question

    def answer() -> View:
        reply = ask(vlm, controls.drawing(), controls.question.value)
        return View(reply_line(reply), (reply_figure(reply),))

    redraw = redrawing(draw, controls.message, controls.preview, controls.image)

    def stamp(number: int) -> None:
        if controls.stamps.get(number) == controls.ink.value:
            del controls.stamps[number]
        else:
            controls.stamps[number] = controls.ink.value
        paint_squares(controls)
        redraw()

    def wipe(_: object = None) -> None:
        controls.stamps.clear()
        paint_squares(controls)
        redraw()

    def take_file(_: object = None) -> None:
        if controls.source.value == FILE:
            redraw()
        else:
            controls.source.value = FILE

    things = (control for thing in controls.things for control in thing.all())
    on_change((controls.source, controls.background, controls.tones, *things), redraw)
    for number, square in enumerate(controls.squares):
        square.on_click(lambda _, number=number: stamp(number))
    controls.clear.on_click(wipe)
    controls.upload.observe(take_file, "value")
    controls.button.on_click(redrawing(answer, controls.message, controls.image))
    return make_box(controls), controls


def _cut(text: str, most: int = 70) -> str:
    return text if len(text) <= most else f"{text[: most - 1]}…"
