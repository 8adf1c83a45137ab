"""A training that can be watched and stopped while it runs: a callback that keeps its figures, and a thread for it.

A notebook cell that trains keeps the kernel busy: a click on a button is heard when the cell is over, and so is the
training. Therefore the training runs in a thread of its own; the cell ends at once, and the kernel hears clicks.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from pcvr.training.callback_base import StageCallback
from pcvr.utils.background_task import BackgroundTask

if TYPE_CHECKING:
    from pcvr.data.sample import Dataset
    from pcvr.defenses import Defense
    from pcvr.defenses.context import TrainingContext
    from pcvr.models.vlm import VisionLanguageModel
    from pcvr.training.config import TrainConfig
    from pcvr.training.result import FinetuneResult

TRAINERS = ("loss", "grad_norm", "learning_rate", "epoch", "step")
"""Entries of a log that every training has; the others are the defence's own."""


@dataclass(frozen=True)
class LoggedStep:
    """What was logged at one step.

    Attributes:
        step: optimiser steps done, in all stages together.
        stage: name of the stage.
        loss: mean loss since the point before, nats per token for plain fine-tuning.
        figures: what the defence tells of itself.
    """

    step: int
    stage: str
    loss: float
    figures: dict[str, float] = field(default_factory=dict)


class Recorder(StageCallback):
    """Keeps what a training logs, for a plot, and ends it when asked to. May be read from another thread.

    Attributes:
        points: what was logged so far.
        stage: name of the stage under way.
        step: optimiser steps done, in all stages together.
        steps: at which step the stage under way ends by its plan.
        stopped: whether an end was asked for.
    """

    def __init__(self) -> None:
        self.points: list[LoggedStep] = []
        self.stage, self.step, self.steps, self.done = "", 0, 0, 0
        self.stopped = False
        self._run: TrainingContext | None = None

    def stop(self) -> None:
        """End the training after the step under way; what was trained so far is kept. Stages to come are left out."""
        self.stopped = True

    def on_stage(self, run: TrainingContext, done: int) -> None:
        """Go on behind the stages before; the first stage of another training begins afresh."""
        if self._run is not None and self._run is not run:
            self.points, self.stopped = [], False
        self._run, self.stage, self.done = run, run.stage, done
        self.step, self.steps = done, done + run.steps

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Count, and stop when that was asked for."""
        self.step = self.done + state.global_step
        if self.stopped:
            control.should_training_stop = True

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:
        """Keep a point."""
        if logs and "loss" in logs:
            own = {name: float(value) for name, value in logs.items() if name not in TRAINERS}
            self.points.append(LoggedStep(self.done + state.global_step, self.stage, float(logs["loss"]), own))


class TrainingJob(BackgroundTask["FinetuneResult"]):
    """`pcvr.finetune` in a thread of its own.

    While it runs, draw no random numbers from torch's own generator and leave the model alone, or the training is
    another one than with the same seed in a plain cell.

    Attributes:
        recorder: what it logs.
    """

    def __init__(
        self,
        model: VisionLanguageModel,
        data: Dataset,
        defense: str | Defense = "none",
        config: TrainConfig | None = None,
        **options: Any,
    ) -> None:
        """Arguments as for `pcvr.finetune`; nothing is done before `start`."""
        self.recorder = Recorder()
        said = {"progress": False} | options
        said["callbacks"] = [*options.get("callbacks", ()), self.recorder]

        def work() -> FinetuneResult:
            from pcvr.training.finetune import finetune

            return finetune(model, data, defense, config, **said)

        super().__init__(work, "training")

    def stop(self) -> None:
        """End it after the step under way, and keep what was trained."""
        self.recorder.stop()

    def result(self, timeout: float | None = None) -> FinetuneResult:
        """As `BackgroundTask.result`. Interrupting the kernel meanwhile stops the training too."""
        try:
            return super().result(timeout)
        except KeyboardInterrupt:
            self.stop()
            raise
