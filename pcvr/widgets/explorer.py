"""The explorer of notebook 07: sliders over a grid that was trained before, and a button that trains a point now."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from html import escape
from threading import Lock
from typing import TYPE_CHECKING, Any

from pcvr.errors import PcvrError
from pcvr.study.grid import name_of
from pcvr.widgets.explorer_source import (
    Choice,
    GridSource,
    caption,
    curves_of,
    distributions_of,
    in_words,
    shortened,
    trade_off_of,
)
from pcvr.widgets.job import Job, Ticker
from pcvr.widgets.picture import figure_image, show_in

if TYPE_CHECKING:
    from ipywidgets import HTML, Button, Dropdown, Image, IntProgress, SelectionSlider, VBox

_TICK = 0.3
"""Seconds between two movements of the bar: each is a message to the page."""


@dataclass(frozen=True)
class Controls:
    """The explorer's widgets by name.

    Attributes:
        case: what is attacked.
        knobs: option of the defence to its slider.
        by: which knob colours the dots.
        scatter: the trade-off.
        curves: of the chosen point.
        distributions: of the chosen point.
        caption: the chosen point in words.
        train: begins a training at the chosen setting.
        cancel: calls it off.
        bar: how far it is.
        progress: the same in words, and what went wrong.
        job: the thread behind it.
    """

    case: Dropdown
    knobs: Mapping[str, SelectionSlider]
    by: Dropdown
    scatter: Image
    curves: Image
    distributions: Image
    caption: HTML
    train: Button
    cancel: Button
    bar: IntProgress
    progress: HTML
    job: Job = field(default_factory=Job)

    def choice(self) -> Choice:
        """What is set at the moment."""
        setting = tuple((knob, float(slider.value)) for knob, slider in self.knobs.items())
        return Choice(self.case.value, setting, self.by.value)


def grid_explorer(source: GridSource) -> tuple[VBox, Controls]:
    """Build the explorer.

    Args:
        source: the grid, and model and data for training here.

    Returns:
        The box to display, and its controls.
    """
    import ipywidgets as w

    first = source.start()
    style: dict[str, Any] = {"style": {"description_width": "9em"}, "layout": w.Layout(width="25em")}
    knobs = {
        knob: w.SelectionSlider(
            options=[(f"{value:g}", value) for value in source.values(knob)],
            value=dict(first.setting)[knob],
            description=_title(knob),
            continuous_update=False,
            **style,
        )
        for knob in source.knobs
    }
    controls = Controls(
        case=w.Dropdown(options=[(str(c), c) for c in source.cases], value=first.case, description="Attack", **style),
        knobs=knobs,
        by=w.Dropdown(options=[(_title(k), k) for k in source.knobs], value=first.by, description="Colour by", **style),
        scatter=_empty_image(),
        curves=_empty_image(),
        distributions=_empty_image(),
        caption=w.HTML(),
        train=w.Button(description="Train here", icon="play", button_style="primary"),
        cancel=w.Button(description="Cancel", icon="stop", disabled=True),
        bar=w.IntProgress(value=0, min=0, max=1, layout=w.Layout(width="14em", visibility="hidden")),
        progress=w.HTML(f'<div role="status">{escape(shortened(source))}</div>'),
    )
    _wire(source, controls)
    sliders = list(knobs.values())
    half = (len(sliders) + 1) // 2
    columns = [w.VBox([controls.case, *sliders[:half]]), w.VBox([controls.by, *sliders[half:]])]
    wrap = w.Layout(flex_flow="row wrap")
    train = w.HBox([controls.train, controls.cancel, controls.bar], layout=wrap)
    rows = [w.HBox(columns, layout=wrap), controls.caption, controls.scatter]
    if source.bench is not None:
        rows += [train, controls.progress]
    return w.VBox([*rows, controls.curves, controls.distributions]), controls


def _title(knob: str) -> str:
    name = name_of(knob)
    return f"{name[:1].upper()}{name[1:]}"


def _empty_image() -> Image:
    from matplotlib.figure import Figure

    return figure_image(Figure(figsize=(0.1, 0.1)))


def _wire(source: GridSource, controls: Controls) -> None:
    drawing = Lock()  # the thread draws as well, and matplotlib's settings are one for all threads

    def redraw(_: object = None) -> None:
        with drawing:
            choice = controls.choice()
            try:
                controls.caption.value = caption(source, choice)
                for image, draw in (
                    (controls.scatter, trade_off_of),
                    (controls.curves, curves_of),
                    (controls.distributions, distributions_of),
                ):
                    figure = draw(source, choice)
                    image.layout.display = "none" if figure is None else None
                    if figure is not None:
                        show_in(image, figure)
            except PcvrError as error:  # an exception in a callback would vanish unseen
                controls.caption.value = f'<div role="alert"><strong>{escape(str(error))}</strong></div>'

    for control in (controls.case, controls.by, *controls.knobs.values()):
        control.observe(redraw, "value")
    redraw()
    if source.bench is not None:
        controls.train.on_click(lambda _: _begin(source, controls, redraw))
        controls.cancel.on_click(lambda _: _call_off(controls))


def _call_off(controls: Controls) -> None:
    if controls.job.running:
        controls.job.cancel.set()
        controls.cancel.disabled = True
        _say(controls, "Calling off: the step under way comes to its end first.")


def _say(controls: Controls, text: str, role: str = "status") -> None:
    body = escape(text)
    controls.progress.value = f'<div role="{role}">{f"<strong>{body}</strong>" if role == "alert" else body}</div>'


def _begin(source: GridSource, controls: Controls, redraw: Any) -> None:
    from pcvr.study.here import Cancelled, train_point

    bench, setting, job = source.bench, controls.choice().setting, controls.job
    assert bench is not None
    if job.running:
        return
    began, last = time.monotonic(), 0.0

    def tell(step: int, steps: int) -> None:
        nonlocal last, began
        now = time.monotonic()
        if step == 1:
            began = now  # what came before was encoding
        if job.cancel.is_set() or (now - last < _TICK and step < steps):
            return
        last = now
        controls.bar.max, controls.bar.value = steps, step
        if step == steps:
            _say(controls, f"{len(bench.tests)} test pictures are answered, clean and triggered ...")
        else:
            left = (now - began) / max(step - 1, 1) * (steps - step)
            _say(controls, f"Step {step} of {steps}" + (f", some {left:.0f} s left." if step > 3 else "."))

    def over() -> None:
        controls.train.disabled, controls.cancel.disabled = False, True
        controls.bar.layout.visibility = "hidden"

    def work() -> None:
        start = time.monotonic()
        try:
            point = train_point(bench, setting, [Ticker(tell)], job.cancel)
        except Cancelled:
            _say(controls, "Called off: nothing was added.")
            return
        source.fresh.append(point)
        if controls.case.value == point.case:
            redraw()
        else:
            controls.case.value = point.case  # which redraws
        _say(controls, f"Done in {time.monotonic() - start:.0f} s: {in_words(setting)}. {shortened(source)}")

    def failed(error: Exception) -> None:
        what = str(error) if isinstance(error, PcvrError) else f"{type(error).__name__}: {error}"
        _say(controls, f"The training failed. {what}", "alert")

    controls.train.disabled, controls.cancel.disabled = True, False
    controls.bar.value, controls.bar.layout.visibility = 0, "visible"
    _say(controls, f"{in_words(setting)}: reading {len(bench.train)} pictures ...")
    job.start(work, failed, over)
