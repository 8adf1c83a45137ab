"""The stages of a defence: one Trainer each, and what a finished one leaves behind is not computed twice."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from pcvr.models.encode import Collator
from pcvr.models.libraries import TrainerCallback
from pcvr.training.callback_base import StageCallback
from pcvr.training.checkpoints import Checkpoints, put_back, restore, set_random_states
from pcvr.training.trainer import DefenseTrainer, arguments
from pcvr.utils.packing import undamaged

if TYPE_CHECKING:
    from pcvr.defenses import Defense
    from pcvr.defenses.context import TrainingContext
    from pcvr.training.config import TrainConfig


class Stopped(Exception):
    """The reader asked for an end: nothing after the stage under way is done."""


class Stages:
    """Trains stage by stage, as `pcvr.defenses.base.Fit` says; remembers the history of all of them.

    Args:
        run: model, data, and what the defence knows.
        rule: the defence.
        config: what a full stage has.
        scratch: a folder for the Trainer.
        callbacks: for each stage's Trainer.
        kept: where checkpoints go; None for none.

    Attributes:
        history: as in `FinetuneResult`.
        done: optimiser steps of the stages that are over.
    """

    def __init__(
        self,
        run: TrainingContext,
        rule: Defense,
        config: TrainConfig,
        scratch: str,
        callbacks: Sequence[TrainerCallback],
        kept: Checkpoints | None = None,
    ) -> None:
        self.run, self.rule, self.config, self.scratch, self.callbacks = run, rule, config, scratch, callbacks
        self.kept, self.number = kept, 0
        self.history: list[dict[str, float]] = []
        self.done = 0
        self.untrained = {n: p.detach().clone() for n, p in run.vlm.model.named_parameters() if p.requires_grad}

    def __call__(
        self,
        stage: str = "train",
        *,
        share: float = 1.0,
        rate: float = 1.0,
        rows: Sequence[int] | None = None,
        clean: bool = False,
        fresh: bool = False,
        stop: float = 1.0,
    ) -> None:
        run, number = self.run, self.number
        self.number += 1
        run.stage, run.steps = stage, max(1, round(share * self.config.steps))
        if self.kept is not None and (end := self.kept.end(number)) is not None:
            self._skip(end)
            return
        if fresh:
            put_back(run, self.untrained)
        config = replace(self.config, steps=run.steps, learning_rate=rate * self.config.peak)
        samples: Any = run.clean if clean else run.data
        trainer = DefenseTrainer(
            run,
            self.rule,
            self.kept,
            number,
            max(1, round(stop * run.steps)),
            model=run.vlm.model,
            args=arguments(config, self.scratch, run),
            train_dataset=samples if rows is None else torch.utils.data.Subset(samples, list(rows)),
            data_collator=Collator(run.vlm.tokenizer.pad_token_id),
            callbacks=list(self.callbacks),
        )
        for callback in self.callbacks:
            if isinstance(callback, StageCallback):
                callback.on_stage(run, self.done)
        begin = self.kept.latest(number) if self.kept is not None else None
        with _own_forward(run.vlm.model):
            trainer.train(resume_from_checkpoint=None if begin is None else str(begin))
        steps = trainer.state.global_step
        stopped = steps < trainer.due and any(getattr(c, "stopped", False) for c in self.callbacks)
        if self.kept is not None:
            trainer.keep(steps if stopped else None)
        self.history += [entry | {"step": entry["step"] + self.done} for entry in trainer.history]
        self.done += steps
        if any(getattr(c, "stopped", False) for c in self.callbacks):
            raise Stopped

    def _skip(self, end: Path) -> None:
        """Put everything where it was at the end of a stage that is over."""
        assert self.kept is not None
        found = self.kept.read(end, self.run.vlm.device.type)
        with undamaged(end):
            restore(self.run, found, end)
            set_random_states(self.run, found["random"])
            self.history += [entry | {"step": entry["step"] + self.done} for entry in found["history"]]
            self.done += found["done"]


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
