"""A Trainer callback that is told of a defence's stages."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pcvr.models.libraries import TrainerCallback

if TYPE_CHECKING:
    from pcvr.defenses.context import TrainingContext


class StageCallback(TrainerCallback):
    """A Trainer callback that is told when a stage of the defence begins.

    Attributes:
        stopped: whether the whole training is to end; looked at after each stage.
    """

    stopped: bool = False

    def on_stage(self, run: TrainingContext, done: int) -> None:
        """Called before the Trainer of a stage begins.

        Args:
            run: ``run.stage`` is its name, ``run.steps`` its steps.
            done: optimiser steps of the stages before.
        """
