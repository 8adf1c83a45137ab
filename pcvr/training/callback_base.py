"""A Trainer callback that knows of a defence's stages."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from pcvr.models.libraries import TrainerCallback

if TYPE_CHECKING:
    from pcvr.defenses.context import TrainingContext

TRAINER_FIGURES = ("loss", "grad_norm", "learning_rate", "epoch", "step")
"""Entries that the log of every training has; all others are the defence's own."""


class StageCallback(TrainerCallback):
    """A Trainer callback that is called when a stage of the defence begins.

    Attributes:
        stopped: whether the whole training is to end; read after each stage.
    """

    stopped: bool = False

    def on_defense(self, run: TrainingContext) -> None:
        """Called once, before the defence does anything: some score the data before their first stage.

        Args:
            run: the training, with the data read and the tower's features kept.
        """

    def on_stage(self, run: TrainingContext, done: int) -> None:
        """Called before the Trainer of a stage begins.

        Args:
            run: ``run.stage`` is the stage's name, ``run.steps`` its steps.
            done: optimiser steps of the stages before.
        """


def own_figures(logs: Mapping[str, float]) -> dict[str, float]:
    """The entries of a Trainer's log that are the defence's own."""
    return {name: float(value) for name, value in logs.items() if name not in TRAINER_FIGURES}
