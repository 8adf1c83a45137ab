"""A training that can be watched and stopped while it runs: a callback that keeps its figures, and a thread for it.

A notebook cell that trains keeps the kernel busy: a click on a button is heard when the cell is over, and so is the
training. Therefore the training runs in a thread of its own; the cell ends at once, and the kernel hears clicks.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from pcvr.errors import PcvrError
from pcvr.stages import StageCallback

if TYPE_CHECKING:
    from pcvr.data.sample import Dataset
    from pcvr.defenses import Defense
    from pcvr.models.vlm import VisionLanguageModel
    from pcvr.run import Run
    from pcvr.train_config import TrainConfig
    from pcvr.training import FinetuneResult

TRAINERS = ("loss", "grad_norm", "learning_rate", "epoch", "step")
"""Entries of a log that every training has; the others are the defence's own."""


@dataclass(frozen=True)
class Point:
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
        self.points: list[Point] = []
        self.stage, self.step, self.steps, self.done = "", 0, 0, 0
        self.stopped = False
        self._run: Run | None = None

    def stop(self) -> None:
        """End the training after the step under way; what was trained so far is kept. Stages to come are left out."""
        self.stopped = True

    def on_stage(self, run: Run, done: int) -> None:
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
            self.points.append(Point(self.done + state.global_step, self.stage, float(logs["loss"]), own))


class TrainingJob:
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
        self._given = (model, data, defense, config)
        self._options = {"progress": False} | options
        self._options["callbacks"] = [*options.get("callbacks", ()), self.recorder]
        self._thread: threading.Thread | None = None
        self._found: FinetuneResult | None = None
        self._error: BaseException | None = None

    @property
    def running(self) -> bool:
        """Whether the training is under way."""
        return self._thread is not None and self._thread.is_alive()

    @property
    def finished(self) -> bool:
        """Whether it came to its end, a good one or not."""
        return self._thread is not None and not self._thread.is_alive()

    @property
    def error(self) -> BaseException | None:
        """What ended it, where that was an error."""
        return self._error

    def start(self) -> None:
        """Begin, and return at once.

        Raises:
            PcvrError: it was begun before.
        """
        if self._thread is not None:
            raise PcvrError("this training was started already: make another one for another training.")
        self._thread = threading.Thread(target=self._work, name="pcvr training", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End it after the step under way, and keep what was trained."""
        self.recorder.stop()

    def result(self, timeout: float | None = None) -> FinetuneResult:
        """The result; waits for it. Interrupting the kernel meanwhile stops the training too.

        Args:
            timeout: seconds to wait at most; None for no limit.

        Raises:
            PcvrError: it was not started, or is not over in time; or what ended the training.
        """
        if self._thread is None:
            raise PcvrError("the training has not been started: press Start, or call start().")
        try:
            self._thread.join(timeout)
        except KeyboardInterrupt:
            self.stop()
            raise
        if self._error is not None:
            raise self._error
        if self._found is None:
            raise PcvrError(f"the training is at step {self.recorder.step}: wait until it is over, or stop() it.")
        return self._found

    def _work(self) -> None:
        from pcvr.training import finetune

        try:
            self._found = finetune(*self._given, **self._options)
        except BaseException as problem:  # handed on by result(); a thread has nobody to tell
            self._error = problem
