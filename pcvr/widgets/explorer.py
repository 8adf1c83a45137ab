"""The explorer of notebook 07: sliders over a shipped grid, and a button that trains a point."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from html import escape
from typing import TYPE_CHECKING, Any

from pcvr.experiments.grid import name_of
from pcvr.training.live import Recorder
from pcvr.utils.background_task import BackgroundTask
from pcvr.widgets.explained import explained
from pcvr.widgets.explorer_source import (
    ExplorerChoice,
    GridSource,
    curves_of,
    distributions_of,
    grid_caption,
    in_words,
    trade_off_of,
    training_note,
)
from pcvr.widgets.follow import follow
from pcvr.widgets.page import on_page, wrapped_row
from pcvr.widgets.picture import figure_image
from pcvr.widgets.redraw import WORKING, View, on_change, redrawing

if TYPE_CHECKING:
    from ipywidgets import HTML, Button, Dropdown, Image, IntProgress, SelectionSlider, VBox

    from pcvr.experiments.local_run import LocalTrainer
    from pcvr.experiments.point import GridPoint, KnobValues

TRAIN, TRAINING = "Train here", "Training …"
"""What the button says, before and while it trains."""
_REFRESH = 0.3
"""Seconds between two updates of the progress bar, each a message to the page."""


@dataclass
class Attempt:
    """A training at one setting.

    Attributes:
        setting: option and value of each knob.
        recorder: its progress; can stop it.
        job: the thread in which it runs.
        began: its start on the monotonic clock, in seconds.
        first: the first step seen, and its time; earlier time was spent on encoding.
        shown: whether its end has been shown.
    """

    setting: KnobValues
    recorder: Recorder
    job: BackgroundTask[GridPoint]
    began: float
    first: tuple[int, float] | None = None
    shown: bool = False


@dataclass
class GridControls:
    """The explorer's widgets by name.

    Attributes:
        case: task, model and attack.
        knobs: option of the defence to its slider.
        by: the knob that colours the dots.
        scatter: the trade-off.
        curves: of the chosen point.
        distributions: of the chosen point.
        caption: the chosen point in words.
        train: starts a training at the chosen setting; it is never disabled, since a disabled button loses the focus.
        cancel: cancels it.
        bar: its progress.
        progress: the same in words, and errors.
        source: the grid and the reader's points.
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
        """Return the choice that is set."""
        setting = tuple((knob, float(slider.value)) for knob, slider in self.knobs.items())
        return ExplorerChoice(self.case.value, setting, self.by.value)

    @cached_property
    def redraw(self) -> Callable[..., None]:
        """The callback that draws the choice."""
        return redrawing(self._view, self.caption, self.scatter, self.curves, self.distributions)

    def _view(self) -> View:
        choice = self.choice()
        figures = tuple(draw(self.source, choice) for draw in (trade_off_of, curves_of, distributions_of))
        return View(grid_caption(self.source, choice), figures)

    def refresh(self) -> None:
        """Show the state of the training, and its point at the end. In a notebook this happens automatically."""
        with explained(self.progress):
            self._refresh()

    def _refresh(self) -> None:
        attempt = self.attempt
        if attempt is None or attempt.shown:
            return
        recorder = attempt.recorder
        self.bar.max, self.bar.value = max(1, recorder.steps), recorder.step
        if attempt.job.running:
            self.say(_progress_line(attempt))
            return
        attempt.shown = True
        self.train.description = TRAIN
        self.bar.layout.visibility = "hidden"
        from pcvr.experiments.local_run import Cancelled

        try:
            self._add(attempt, attempt.job.result())
        except Cancelled:
            self.say("Cancelled: nothing was added.")

    def say(self, text: str) -> None:
        """Show the state of a training; screen readers announce it."""
        self.progress.value = f'<div role="status">{escape(text)}</div>'

    def _add(self, attempt: Attempt, point: GridPoint) -> None:
        self.source.fresh.append(point)
        if self.case.value == point.case:
            self.redraw()
        else:
            self.case.value = point.case  # which redraws
        seconds = time.monotonic() - attempt.began
        self.say(f"Done in {seconds:.0f} s: {in_words(attempt.setting)}. {training_note(self.source)}")


def grid_explorer(source: GridSource) -> tuple[VBox, GridControls]:
    """Build the explorer.

    Args:
        source: the grid, with model and data for training here.

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
    controls = GridControls(
        case=w.Dropdown(options=[(str(c), c) for c in source.cases], value=first.case, description="Attack", **style),
        knobs=knobs,
        by=w.Dropdown(options=[(_title(k), k) for k in source.knobs], value=first.by, description="Colour by", **style),
        scatter=figure_image(),
        curves=figure_image(),
        distributions=figure_image(),
        caption=w.HTML(),
        train=w.Button(description=TRAIN, button_style="primary"),
        cancel=w.Button(description="Cancel", tooltip="Cancel the training that runs here"),
        bar=w.IntProgress(value=0, min=0, max=1, layout=w.Layout(width="14em", visibility="hidden")),
        progress=w.HTML(),
        source=source,
    )
    on_change((controls.case, controls.by, *knobs.values()), controls.redraw)
    controls.redraw()
    sliders = list(knobs.values())
    half = (len(sliders) + 1) // 2
    columns = [w.VBox([controls.case, *sliders[:half]]), w.VBox([controls.by, *sliders[half:]])]
    rows = [wrapped_row(*columns), controls.caption, controls.scatter]
    if source.bench is not None:
        bench = source.bench
        controls.say(training_note(source))
        controls.train.on_click(lambda _: _explain(controls, lambda: _begin(controls, bench)))
        controls.cancel.on_click(lambda _: _explain(controls, lambda: _cancel(controls)))
        rows += [wrapped_row(controls.train, controls.cancel, controls.bar), controls.progress]
    return on_page(*rows, controls.curves, controls.distributions), controls


def _title(knob: str) -> str:
    name = name_of(knob)
    return f"{name[:1].upper()}{name[1:]}"


def _explain(controls: GridControls, act: Callable[[], None]) -> None:
    with explained(controls.progress):
        act()


def _begin(controls: GridControls, bench: LocalTrainer) -> None:
    if controls.attempt is not None and controls.attempt.job.running:
        return
    controls.say(WORKING)
    from pcvr.experiments.local_run import train_point

    controls.refresh()  # a fast click may come before the end of the last training was shown
    setting, recorder = controls.choice().setting, Recorder()
    job = BackgroundTask(lambda: train_point(bench, setting, recorder), "training")
    controls.attempt = Attempt(setting, recorder, job, time.monotonic())
    controls.train.description = TRAINING
    controls.bar.value, controls.bar.layout.visibility = 0, "visible"
    job.start()
    controls.refresh()
    follow(controls.refresh, lambda: job.running, _REFRESH)


def _cancel(controls: GridControls) -> None:
    if controls.attempt is not None and controls.attempt.job.running:
        controls.attempt.recorder.stop()
        controls.refresh()
    else:
        controls.say("No training runs here: there is nothing to cancel.")


def _progress_line(attempt: Attempt) -> str:
    recorder, now = attempt.recorder, time.monotonic()
    if recorder.stopped:
        return "Cancelling: the present step ends first."
    if not recorder.step:
        return f"{in_words(attempt.setting)}: reading the images ..."
    if recorder.step >= recorder.steps:
        return "Trained; answering the test images, clean and triggered ..."
    attempt.first = attempt.first or (recorder.step, now)
    step, then = attempt.first
    done = recorder.step - step
    left = (now - then) / done * (recorder.steps - recorder.step) if done else 0.0
    soon = f", about {left:.0f} s left." if done > 2 and left >= 1 else "."
    return f"Step {recorder.step} of {recorder.steps}{soon}"
