"""A training that a notebook can watch and stop: a callback that records its figures, and a thread to run it in.

A cell that trains keeps the kernel busy, so that a click on a button is handled only after the training. Therefore the
training runs in its own thread: the cell ends at once, and the kernel handles clicks.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from pcvr.training.callback_base import StageCallback, own_figures
from pcvr.utils.background_task import BackgroundTask

if TYPE_CHECKING:
    from pcvr.data.sample import Dataset
    from pcvr.defenses import Defense
    from pcvr.defenses.context import TrainingContext
    from pcvr.models.vlm import VisionLanguageModel
    from pcvr.training.config import TrainConfig
    from pcvr.training.result import FinetuneResult


@dataclass(frozen=True)
class LoggedStep:
    """What was logged at one step.

    Attributes:
        step: optimiser steps done, over all stages.
        stage: name of the stage.
        loss: mean loss since the previous point, nats per token for plain fine-tuning.
        figures: the defence's own figures.
    """

    step: int
    stage: str
    loss: float
    figures: dict[str, float] = field(default_factory=dict)


class Recorder(StageCallback):
    """Records what a training logs, for a plot, and stops it on request. Another thread may read it.

    Attributes:
        points: what was logged so far.
        stage: name of the current stage.
        step: optimiser steps done, over all stages.
        steps: the step at which the current stage ends by its plan.
        stopped: whether `stop` was called.
    """

    def __init__(self) -> None:
        self.points: list[LoggedStep] = []
        self.stage, self.step, self.steps, self.done = "", 0, 0, 0
        self.stopped = False
        self._run: TrainingContext | None = None

    def stop(self) -> None:
        """End the training after the current step and keep what was trained; further stages are not trained."""
        self.stopped = True

    def on_stage(self, run: TrainingContext, done: int) -> None:
        """Continue the step count of the stages before; the first stage of another training starts again at 0."""
        if self._run is not None and self._run is not run:
            self.points, self.stopped = [], False
        self._run, self.stage, self.done = run, run.stage, done
        self.step, self.steps = done, done + run.steps

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Count the step; stop the Trainer after `stop`."""
        self.step = self.done + state.global_step
        if self.stopped:
            control.should_training_stop = True

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:
        """Record a point."""
        if logs and "loss" in logs:
            step = self.done + state.global_step
            self.points.append(LoggedStep(step, self.stage, float(logs["loss"]), own_figures(logs)))


class TrainingJob(BackgroundTask["FinetuneResult"]):
    """`pcvr.finetune` in its own thread.

    While it runs, neither use the model nor draw from torch's default random generator: the result would differ from
    that of the same seed in a plain cell.

    Attributes:
        recorder: records the figures.
    """

    def __init__(
        self,
        model: VisionLanguageModel,
        data: Dataset,
        defense: str | Defense = "none",
        config: TrainConfig | None = None,
        **options: Any,
    ) -> None:
        """Arguments as for `pcvr.finetune`; nothing runs before `start`."""
        self.recorder = Recorder()
        options = {"progress": False} | options
        options["callbacks"] = [*options.get("callbacks", ()), self.recorder]

        def work() -> FinetuneResult:
            from pcvr.training.finetune import finetune

            return finetune(model, data, defense, config, **options)

        super().__init__(work, "training")

    def stop(self) -> None:
        """End the training after the current step and keep what was trained."""
        self.recorder.stop()

    def result(self, timeout: float | None = None) -> FinetuneResult:
        """As `BackgroundTask.result`. An interrupt of the kernel meanwhile also stops the training."""
        try:
            return super().result(timeout)
        except KeyboardInterrupt:
            self.stop()
            raise
