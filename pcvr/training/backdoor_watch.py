"""Trainer callbacks that measure the attack success rate during training, or stop the training early."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

from pcvr.attacks import triggered
from pcvr.data.asked import Asked, bare_samples
from pcvr.errors import PcvrError
from pcvr.evaluation.generate import generate
from pcvr.evaluation.intervals import AttackRate
from pcvr.evaluation.metrics import Scores, score
from pcvr.evaluation.success_criteria import aimed_at, budget_of, says_target, success_of
from pcvr.models.libraries import TrainerCallback
from pcvr.tasks import get_task
from pcvr.utils.checks import check_whole
from pcvr.utils.renamed import accepts_old_names

if TYPE_CHECKING:
    from pcvr.attacks import Attack
    from pcvr.data.sample import Dataset
    from pcvr.models.vlm import VisionLanguageModel


@dataclass(frozen=True)
class WatchPoint(AttackRate):
    """The state of a backdoor at one step.

    Attributes:
        step: optimiser steps done.
        hits: triggered images answered with the target.
        clean_hits: clean images answered with the target.
        n: images of each kind that the attacker aims at.
        clean: each metric on the clean images.
        task: name of the task.
    """

    step: int
    hits: int
    clean_hits: int
    n: int
    clean: Scores
    task: str


@accepts_old_names
class BackdoorWatch(TrainerCallback):
    """Measures the attack success rate before the first step, every `eval_steps` steps, and after the last one.

    It does not change the training: greedy answers draw no random numbers. They come through the guard that `vlm`
    carries, if any. A defence that acts at test time gets its guard after the last step, so during its own training the
    model's own answers are measured.

    Attributes:
        points: the measurements.
    """

    RENAMED: ClassVar[Mapping[str, str]] = {"every": "eval_steps"}

    def __init__(
        self,
        vlm: VisionLanguageModel,
        data: Dataset,
        attack: Attack,
        eval_steps: int = 25,
        definition: str | None = None,
        max_new_tokens: int | None = None,
        batch_size: int | None = None,
    ) -> None:
        """
        Args:
            vlm: the model given to `pcvr.finetune`; its processor is used, the weights come from the training.
            data: some dozens of clean images that are not training samples.
            attack: applies the trigger and names the target.
            eval_steps: optimiser steps between two measurements, from 1 up.
            definition: what counts as a hit, as in `pcvr.evaluate`; by default the task's.
            max_new_tokens: answer budget; by default the task's.
            batch_size: images answered at a time; None for as many as fit the memory.

        Raises:
            PcvrError: fewer than two images, or `eval_steps` below 1.
        """
        if len(data) < 2:
            raise PcvrError(f"the watch got {len(data)} images: give at least 2, better some dozens.")
        check_whole("eval_steps", eval_steps, 1, what="steps")
        self.vlm, self.attack, self.eval_steps, self.batch_size = vlm, attack, eval_steps, batch_size
        self.task = get_task(data.task)
        self.definition = definition or success_of(self.task, attack)
        self.max_new_tokens = budget_of(self.task, attack, vlm) if max_new_tokens is None else max_new_tokens
        self.samples = bare_samples(data)
        self.aimed = aimed_at(self.samples, attack)
        # finetune and evaluate check whether the trigger reaches the model.
        self.asked = Asked(data, triggered(data, attack, model=vlm, check_trigger=False))
        self.points: list[WatchPoint] = []

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Start a new list of points with the untrained model."""
        self.points = []
        self._measure(kwargs["model"], 0)

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Measure when the step is due."""
        if state.global_step % self.eval_steps == 0:
            self._measure(kwargs["model"], state.global_step)

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Measure the final model, unless its last step was just measured."""
        if self.points[-1].step != state.global_step:
            self._measure(kwargs["model"], state.global_step)

    def _measure(self, model: Any, step: int) -> None:
        was_training = model.training
        vlm = replace(self.vlm, model=model)
        said = generate(vlm, self.asked.images, self.asked.prompts, self.max_new_tokens, self.batch_size)
        model.train(was_training)
        n = len(self.samples)
        judged = self.samples, self.attack, self.definition
        self.points.append(
            WatchPoint(
                step=step,
                hits=int(says_target(said[n:], *judged)[self.aimed].sum()),
                clean_hits=int(says_target(said[:n], *judged)[self.aimed].sum()),
                n=int(self.aimed.sum()),
                clean=score(self.task, said[:n], self.samples),
                task=self.task.name,
            )
        )


def first_at(points: Sequence[WatchPoint], level: float) -> int | None:
    """Return the first step with an attack success rate of at least `level` (0 to 1); None where there is none."""
    return next((p.step for p in points if p.asr >= level), None)


class StopAfter(TrainerCallback):
    """Ends the training after some steps while the learning rate follows the plan for all of them.

    The result is the model part way through the full recipe. A shorter recipe would give another model, since its
    learning rate would have fallen to zero.
    """

    def __init__(self, steps: int) -> None:
        """
        Raises:
            PcvrError: `steps` is below 1.
        """
        check_whole("steps", steps, 1)
        self.steps = steps

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> Any:
        """Stop the Trainer when the step is due."""
        if state.global_step >= self.steps:
            control.should_training_stop = True
        return control


class WatchAt(BackdoorWatch):
    """A `BackdoorWatch` that measures after given steps only."""

    def __init__(self, *args: Any, steps: Sequence[int], **kwargs: Any) -> None:
        """
        Args:
            *args: as for `BackdoorWatch`.
            steps: optimiser steps done before each measurement.
            **kwargs: as for `BackdoorWatch`.
        """
        super().__init__(*args, **kwargs)
        self.steps = frozenset(steps)

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Start a new list of points."""
        self.points = []

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Measure when the step is due."""
        if state.global_step in self.steps:
            self._measure(kwargs["model"], state.global_step)

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Measure nothing at the end."""
