"""The stages of a training: one Trainer each; a stage that a checkpoint has finished is read, not trained again."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from pcvr.defenses.stage_plan import StagePlan, as_plan
from pcvr.models.libraries import TrainerCallback
from pcvr.training.callback_base import StageCallback
from pcvr.training.checkpoints import Checkpoints, put_back, restore, set_random_states
from pcvr.training.trainer import DefenseTrainer
from pcvr.utils.packing import undamaged

if TYPE_CHECKING:
    from pcvr.defenses import Defense
    from pcvr.defenses.context import TrainingContext
    from pcvr.training.config import TrainConfig
    from pcvr.training.plain_start import PlainStart


class Stopped(Exception):
    """The reader ended the training: no further stage is trained."""


class Stages:
    """Trains stage by stage, as `pcvr.defenses.stage_plan.Fit` says, and keeps the history of all stages.

    Args:
        run: model, data, and what the defence knows.
        defense: gives the loss, and asks for the stages.
        config: settled; what a full stage has.
        scratch: folder for the Trainer.
        callbacks: for each stage's Trainer.
        store: where checkpoints go; None for none.
        start: a plain fine-tuning to start from; None to train every stage.

    Attributes:
        history: as in `FinetuneResult`.
        steps_before: optimiser steps of the finished stages.
    """

    def __init__(
        self,
        run: TrainingContext,
        defense: Defense,
        config: TrainConfig,
        scratch: str,
        callbacks: Sequence[TrainerCallback],
        store: Checkpoints | None = None,
        start: PlainStart | None = None,
    ) -> None:
        self.run, self.defense, self.config, self.scratch = run, defense, config, scratch
        self.callbacks, self.store, self.start = callbacks, store, start
        self.number = 0
        self.history: list[dict[str, float]] = []
        self.steps_before = 0
        self.untrained = {n: p.detach().clone() for n, p in run.vlm.model.named_parameters() if p.requires_grad}

    def train(self) -> bool:
        """Let the defence train all its stages; return whether the reader stopped it."""
        try:
            self.defense.train(self.run, self)
        except Stopped:
            return True
        return False

    def __call__(self, *plan: Any, **options: Any) -> None:
        """Train one stage as its `StagePlan` says."""
        self._train_stage(as_plan(*plan, **options))

    def _train_stage(self, plan: StagePlan) -> None:
        run, number = self.run, self.number
        self.number += 1
        run.stage, run.steps = plan.name, plan.steps(self.config.max_steps)
        if self.store is not None and (end := self.store.end(number)) is not None:
            self._read_end(self.store, end)
            return
        start = self.start if self.start is not None and self.start.serves(self.defense, plan, number) else None
        if start is not None and (taken := start.take(run)) is not None:
            self._add(**taken)
            return
        if plan.fresh:
            put_back(run, self.untrained)
        trainer = self._trainer(plan, number)
        for callback in self.callbacks:
            if isinstance(callback, StageCallback):
                callback.on_stage(run, self.steps_before)
        latest = None if self.store is None else self.store.latest(number)
        with _own_forward(run.vlm.model):
            trainer.train(resume_from_checkpoint=None if latest is None else str(latest))
        self._finish(trainer)
        if start is not None:
            start.keep(trainer)

    def _trainer(self, plan: StagePlan, number: int) -> DefenseTrainer:
        run = self.run
        samples: Any = run.clean if plan.clean else run.data
        size = plan.samples(self.config.batch_size, self.config.gradient_accumulation_steps * run.world)
        return DefenseTrainer(
            run,
            self.defense,
            replace(self.config, max_steps=run.steps, learning_rate=plan.rate * self.config.peak, batch_size=size),
            samples if plan.rows is None else torch.utils.data.Subset(samples, list(plan.rows)),
            self.scratch,
            self.callbacks,
            last_step=plan.last_step(run.steps),
            store=self.store,
            number=number,
            groups=plan.groups,
        )

    def _finish(self, trainer: DefenseTrainer) -> None:
        """Keep what a stage leaves behind, and end the training here where that was asked for."""
        steps = trainer.state.global_step
        stopped = any(getattr(callback, "stopped", False) for callback in self.callbacks)
        if self.store is not None:
            unfinished = stopped and steps < trainer.last_step
            trainer.write_checkpoint(steps if unfinished else None)
        self._add(trainer.history, steps)
        if stopped:
            raise Stopped

    def _read_end(self, store: Checkpoints, end: Path) -> None:
        """Put everything where it was at the end of a finished stage."""
        content = store.read(end, self.run.vlm.device.type)
        with undamaged(end):
            restore(self.run, content, end)
            set_random_states(self.run, content["random"])
            self._add(content["history"], content["done"])

    def _add(self, history: Sequence[dict[str, float]], done: int) -> None:
        """Append a finished stage's history; its steps count on from the stages before."""
        self.history += [entry | {"step": entry["step"] + self.steps_before} for entry in history]
        self.steps_before += done


@contextmanager
def _own_forward(model: Any) -> Iterator[None]:
    """Inside the block accelerate may put its autocast round the model's forward; afterwards it is gone."""
    names = ("forward", "_original_forward")
    before = {name: model.__dict__[name] for name in names if name in model.__dict__}
    try:
        yield
    finally:
        for name in names:
            model.__dict__.pop(name, None)
        model.__dict__.update(before)
