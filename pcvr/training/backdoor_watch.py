"""Trainer callbacks for lessons: ask the model for the target while it trains, or stop the training part way."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

from pcvr.attacks import triggered
from pcvr.data.asked import Asked, bare_samples
from pcvr.errors import PcvrError
from pcvr.evaluation.asr import hits
from pcvr.evaluation.generate import generate
from pcvr.evaluation.intervals import AttackRate
from pcvr.evaluation.metrics import Scores, score
from pcvr.evaluation.success_criteria import aimed_at, budget_of, success_of
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
    """How far a backdoor has come at one step.

    Attributes:
        step: optimiser steps done.
        hits: triggered pictures answered with the target.
        clean_hits: clean pictures answered with the target all the same.
        n: pictures of each kind that the attacker aims at.
        clean: how good the answers to the clean pictures are, metric by metric.
        task: what was asked.
    """

    step: int
    hits: int
    clean_hits: int
    n: int
    clean: Scores
    task: str


@accepts_old_names
class BackdoorWatch(TrainerCallback):
    """Asks for the attack success rate before the first step, every so many steps, and after the last.

    It changes nothing about the training: the answers are greedy, so no random number is drawn. They come through the
    guard that `vlm` carries, if any. A defence that acts at test time gets its guard after the last step, so a watch of
    its training sees the model's own answers.

    Attributes:
        points: what was found, one `WatchPoint` each time.
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
            vlm: the model handed to `pcvr.finetune`; its processor is used, the weights come from the training.
            data: clean pictures to ask about, some dozens; they must not be training samples.
            attack: puts the trigger on and names the target.
            eval_steps: optimiser steps between two looks, from 1 up.
            definition: what counts as the target said, as in `pcvr.evaluate`; by default the task's.
            max_new_tokens: answer budget; by default the task's.
            batch_size: pictures answered at a time; None for as many as fit the memory.

        Raises:
            PcvrError: fewer than two pictures, or `eval_steps` below 1.
        """
        if len(data) < 2:
            raise PcvrError(f"the watch got {len(data)} pictures: give at least 2, better some dozens.")
        check_whole("eval_steps", eval_steps, 1, what="steps")
        self.vlm, self.attack, self.eval_steps, self.batch_size = vlm, attack, eval_steps, batch_size
        self.task = get_task(data.task)
        self.definition = definition or success_of(self.task, attack)
        self.max_new_tokens = budget_of(self.task, attack, vlm) if max_new_tokens is None else max_new_tokens
        self.samples = bare_samples(data)
        self.aimed = aimed_at(self.samples, attack)
        # Whether the trigger reaches the model, finetune and evaluate check.
        self.asked = Asked(data, triggered(data, attack, model=vlm, check_trigger=False))
        self.points: list[WatchPoint] = []

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Forget an earlier training, and look once."""
        self.points = []
        self._look(kwargs["model"], 0)

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Look when it is time."""
        if state.global_step % self.eval_steps == 0:
            self._look(kwargs["model"], state.global_step)

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Look at the end, unless that was just done."""
        if self.points[-1].step != state.global_step:
            self._look(kwargs["model"], state.global_step)

    def _look(self, model: Any, step: int) -> None:
        was_training = model.training
        vlm = replace(self.vlm, model=model)
        said = generate(vlm, self.asked.images, self.asked.prompts, self.max_new_tokens, self.batch_size)
        model.train(was_training)
        n = len(self.samples)
        self.points.append(
            WatchPoint(
                step=step,
                hits=int(hits(said[n:], self.attack.target, self.definition)[self.aimed].sum()),
                clean_hits=int(hits(said[:n], self.attack.target, self.definition)[self.aimed].sum()),
                n=int(self.aimed.sum()),
                clean=score(self.task, said[:n], self.samples),
                task=self.task.name,
            )
        )


def first_at(points: Sequence[WatchPoint], level: float) -> int | None:
    """The first step at which the attack success rate is `level` (0 to 1) or more; None where it never is."""
    return next((p.step for p in points if p.asr >= level), None)


class StopAfter(TrainerCallback):
    """Ends the training after some steps while the learning rate still follows the plan for all of them.

    What one gets is the model as it is part way through the full recipe, which a shorter recipe would not give: its
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
        """Ask the Trainer to stop when it is time."""
        if state.global_step >= self.steps:
            control.should_training_stop = True
        return control


class WatchAt(BackdoorWatch):
    """A `BackdoorWatch` that looks after given steps only."""

    def __init__(self, *args: Any, steps: Sequence[int], **kwargs: Any) -> None:
        """
        Args:
            *args: as for `BackdoorWatch`.
            steps: how many steps are done before each look.
            **kwargs: as for `BackdoorWatch`.
        """
        super().__init__(*args, **kwargs)
        self.steps = frozenset(steps)

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Forget an earlier training."""
        self.points = []

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Look when it is time."""
        if state.global_step in self.steps:
            self._look(kwargs["model"], state.global_step)

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Nothing more."""
