"""The explorer of notebook 07: sliders over a grid that was trained before, and a button that trains a point now."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, Any

from pcvr.experiments.grid import name_of
from pcvr.training.live import Recorder
from pcvr.utils.background_task import BackgroundTask
from pcvr.widgets.explained import explained
from pcvr.widgets.explorer_source import (
    ExplorerChoice,
    GridSource,
    caption,
    curves_of,
    distributions_of,
    in_words,
    shortened,
    trade_off_of,
)
from pcvr.widgets.follow import follow
from pcvr.widgets.picture import figure_image, show_in

if TYPE_CHECKING:
    from ipywidgets import HTML, Button, Dropdown, Image, IntProgress, SelectionSlider, VBox

    from pcvr.experiments.local_run import LocalTrainer
    from pcvr.experiments.point import GridPoint, KnobValues

_LOOK = 0.3
"""Seconds between two looks at a training: each moves the bar, which is a message to the page."""


@dataclass
class Attempt:
    """A training at one setting.

    Attributes:
        setting: option and value of each knob.
        recorder: how far it is; stops it.
        job: the thread it runs in.
        began: when, on the monotonic clock, in seconds.
        first: which step was seen first, and when; what came before was encoding.
        shown: whether its end has been shown.
    """

    setting: KnobValues
    recorder: Recorder
    job: BackgroundTask[GridPoint]
    began: float
    first: tuple[int, float] | None = None
    shown: bool = False


@dataclass
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
        source: what is shown.
        attempt: the latest training here.
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
    source: GridSource
    attempt: Attempt | None = None

    def choice(self) -> ExplorerChoice:
        """What is set at the moment."""
        setting = tuple((knob, float(slider.value)) for knob, slider in self.knobs.items())
        return ExplorerChoice(self.case.value, setting, self.by.value)

    def redraw(self, _: object = None) -> None:
        """Show the choice."""
        with explained(self.caption, self.scatter, self.curves, self.distributions):
            choice = self.choice()
            self.caption.value = caption(self.source, choice)
            for image, draw in (
                (self.scatter, trade_off_of),
                (self.curves, curves_of),
                (self.distributions, distributions_of),
            ):
                figure = draw(self.source, choice)
                if figure is None:
                    image.layout.display = "none"
                else:
                    show_in(image, figure)

    def refresh(self) -> None:
        """Show how far the training is, and its point once it is there. In a notebook this is done by itself."""
        with explained(self.progress):
            self._refresh()

    def _refresh(self) -> None:
        attempt = self.attempt
        if attempt is None or attempt.shown:
            return
        recorder = attempt.recorder
        self.bar.max, self.bar.value = max(1, recorder.steps), recorder.step
        if attempt.job.running:
            self.say(_under_way(attempt))
            return
        attempt.shown = True
        self.train.disabled, self.cancel.disabled = False, True
        self.bar.layout.visibility = "hidden"
        from pcvr.experiments.local_run import Cancelled

        try:
            self._add(attempt, attempt.job.result())
        except Cancelled:
            self.say("Called off: nothing was added.")

    def say(self, text: str) -> None:
        """Say how a training goes; screen readers announce it."""
        self.progress.value = f'<div role="status">{escape(text)}</div>'

    def _add(self, attempt: Attempt, point: GridPoint) -> None:
        self.source.fresh.append(point)
        if self.case.value == point.case:
            self.redraw()
        else:
            self.case.value = point.case  # which redraws
        seconds = time.monotonic() - attempt.began
        self.say(f"Done in {seconds:.0f} s: {in_words(attempt.setting)}. {shortened(self.source)}")


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
        train=w.Button(description="Train here", button_style="primary"),
        cancel=w.Button(description="Cancel", disabled=True),
        bar=w.IntProgress(value=0, min=0, max=1, layout=w.Layout(width="14em", visibility="hidden")),
        progress=w.HTML(),
        source=source,
    )
    for control in (controls.case, controls.by, *knobs.values()):
        control.observe(controls.redraw, "value")
    controls.redraw()
    sliders = list(knobs.values())
    half = (len(sliders) + 1) // 2
    columns = [w.VBox([controls.case, *sliders[:half]]), w.VBox([controls.by, *sliders[half:]])]
    wrap = w.Layout(flex_flow="row wrap")
    train = w.HBox([controls.train, controls.cancel, controls.bar], layout=wrap)
    rows = [w.HBox(columns, layout=wrap), controls.caption, controls.scatter]
    if source.bench is not None:
        bench = source.bench
        controls.say(shortened(source))
        controls.train.on_click(lambda _: _clicked(controls, lambda: _begin(controls, bench)))
        controls.cancel.on_click(lambda _: _clicked(controls, lambda: _call_off(controls)))
        rows += [train, controls.progress]
    return w.VBox([*rows, controls.curves, controls.distributions]), controls


def _title(knob: str) -> str:
    name = name_of(knob)
    return f"{name[:1].upper()}{name[1:]}"


def _empty_image() -> Image:
    from matplotlib.figure import Figure

    return figure_image(Figure(figsize=(0.1, 0.1)))


def _clicked(controls: Controls, act: Callable[[], None]) -> None:
    with explained(controls.progress):
        act()


def _begin(controls: Controls, bench: LocalTrainer) -> None:
    from pcvr.experiments.local_run import train_point

    if controls.attempt is not None and controls.attempt.job.running:
        return
    controls.refresh()  # whoever clicks fast may be here before the end of the last training was shown
    setting, recorder = controls.choice().setting, Recorder()
    job = BackgroundTask(lambda: train_point(bench, setting, recorder), "training")
    controls.attempt = Attempt(setting, recorder, job, time.monotonic())
    controls.train.disabled, controls.cancel.disabled = True, False
    controls.bar.value, controls.bar.layout.visibility = 0, "visible"
    job.start()
    controls.refresh()
    follow(controls.refresh, lambda: job.running, _LOOK)


def _call_off(controls: Controls) -> None:
    if controls.attempt is not None and controls.attempt.job.running:
        controls.attempt.recorder.stop()
        controls.cancel.disabled = True
        controls.refresh()


def _under_way(attempt: Attempt) -> str:
    recorder, now = attempt.recorder, time.monotonic()
    if recorder.stopped:
        return "Calling off: the step under way comes to its end first."
    if not recorder.step:
        return f"{in_words(attempt.setting)}: reading the pictures ..."
    if recorder.step >= recorder.steps:
        return "Trained; the test pictures are answered, clean and triggered ..."
    attempt.first = attempt.first or (recorder.step, now)
    step, then = attempt.first
    done = recorder.step - step
    left = (now - then) / done * (recorder.steps - recorder.step) if done else 0.0
    soon = f", some {left:.0f} s left." if done > 2 and left >= 1 else "."
    return f"Step {recorder.step} of {recorder.steps}{soon}"
