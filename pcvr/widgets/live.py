"""Watch a training: its curves while it runs, a progress bar, and a button that stops it."""

from __future__ import annotations

from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, Any

from pcvr.plots.training import live_curves
from pcvr.training.live import TrainingJob
from pcvr.widgets.explained import alert, explained
from pcvr.widgets.follow import follow
from pcvr.widgets.page import on_page
from pcvr.widgets.picture import figure_image, show_in
from pcvr.widgets.redraw import working

if TYPE_CHECKING:
    from ipywidgets import VBox
    from matplotlib.figure import Figure

    from pcvr.data.sample import Dataset
    from pcvr.defenses import Defense
    from pcvr.models.vlm import VisionLanguageModel
    from pcvr.training import FinetuneResult, TrainConfig

_START, _TRAINING, _TRAINED = "Start", "Training …", "Trained"
"""What the first button says before, during and after the training."""


@dataclass
class LiveControls:
    """The controls of `live_training`, and the training.

    Attributes:
        start: button that starts the training.
        stop: button that stops the training after the present step and keeps the result. No button is ever disabled,
            since a disabled one loses the focus: its label or the status says what it does.
        bar: IntProgress over the steps of the present stage.
        picture: Image widget with the curves.
        status: HTML widget with the state in words.
        job: the training.
    """

    start: Any
    stop: Any
    bar: Any
    picture: Any
    status: Any
    job: TrainingJob
    _drawn: tuple[int, bool] = (-1, False)

    def refresh(self) -> None:
        """Show the state of the training. In a notebook this happens automatically."""
        with explained(self.status, self.picture):
            self._refresh()

    def _refresh(self) -> None:
        job, recorder = self.job, self.job.recorder
        self.start.description = _TRAINING if job.running else _TRAINED if job.finished else _START
        self.bar.max = max(1, recorder.steps)
        self.bar.value = recorder.step
        self.status.value = training_status(job)
        now = (len(recorder.points), job.finished)
        if now != self._drawn:
            self._drawn = now
            show_in(self.picture, live_view(job))

    def result(self, timeout: float | None = None) -> FinetuneResult:
        """Return the result at the end of the training; wait for it for at most `timeout` seconds."""
        try:
            return self.job.result(timeout)
        finally:
            self.refresh()


def live_view(job: TrainingJob) -> Figure:
    """Draw the present curves."""
    return live_curves(tuple(job.recorder.points), job.recorder.steps)


def live_training(
    model: VisionLanguageModel,
    data: Dataset,
    defense: str | Defense = "none",
    config: TrainConfig | None = None,
    *,
    seconds: float = 1.0,
    **options: Any,
) -> tuple[VBox, LiveControls]:
    """Return a box that fine-tunes after Start, shows the curves meanwhile, and stops after Stop.

    The training runs in a thread and the cell ends at once, since a busy kernel handles no click. While another cell
    runs, the box stands still and a click waits. Call ``controls.result()`` in a later cell, which waits for the end. A
    stopped training keeps its result.

    Args:
        model: as for `pcvr.finetune`.
        data: as for `pcvr.finetune`.
        defense: as for `pcvr.finetune`.
        config: as for `pcvr.finetune`.
        seconds: between two refreshes.
        options: of `pcvr.finetune`.

    Returns:
        The box to display and its controls.
    """
    import ipywidgets as widgets

    job = TrainingJob(model, data, defense, config, **options)
    controls = LiveControls(
        start=widgets.Button(description=_START, tooltip="Start the training"),
        stop=widgets.Button(description="Stop", tooltip="Stop the training and keep the result"),
        bar=widgets.IntProgress(value=0, min=0, max=1, description="Steps"),
        picture=figure_image(live_view(job)),
        status=widgets.HTML(training_status(job)),
        job=job,
    )

    def begin(_: object = None) -> None:
        with explained(controls.status):
            if not (job.running or job.finished):
                controls.status.value = working(controls.status.value)
                job.start()
                follow(controls.refresh, lambda: job.running, seconds)
            controls.refresh()

    def end(_: object = None) -> None:
        with explained(controls.status):
            if job.running:
                job.stop()
            controls.refresh()

    controls.start.on_click(begin)
    controls.stop.on_click(end)
    row = widgets.HBox([controls.start, controls.stop, controls.bar])
    return on_page(row, controls.status, controls.picture), controls


def training_status(job: TrainingJob) -> str:
    """Return HTML with the state of the training; screen readers announce changes."""
    recorder = job.recorder
    if job.error is not None:
        return alert(job.error)
    if job.finished:
        text = f"Stopped at step {recorder.step}." if recorder.stopped else f"Done after {recorder.step} steps."
        text = escape(" ".join([text, *job.result().notes]))
    elif job.running:
        if recorder.stopped:
            text = "Stopping after this step."
        elif recorder.steps:
            text = f"Stage {escape(recorder.stage)}: step {recorder.step} of {recorder.steps}."
        else:
            text = "Preparing the data."
    else:
        text = "Not started."
    return f'<div role="status">{text}</div>'
