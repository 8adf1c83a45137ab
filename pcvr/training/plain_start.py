"""A plain fine-tuning in a folder that several defences start from, instead of each training it again."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pcvr.defenses.baselines.plain import PlainSFT
from pcvr.defenses.stage_plan import FULL_STAGE, StagePlan
from pcvr.errors import PcvrError
from pcvr.training.checkpoints import Checkpoints, plan_of, put_back, random_states, set_random_states
from pcvr.utils import distributed
from pcvr.utils.files import NotWritten
from pcvr.utils.packing import undamaged

if TYPE_CHECKING:
    from pcvr.data.sample import Dataset
    from pcvr.defenses import Defense
    from pcvr.defenses.context import TrainingContext
    from pcvr.models.vlm import VisionLanguageModel
    from pcvr.training.config import TrainConfig
    from pcvr.training.trainer import DefenseTrainer


class PlainStart:
    """The first stage of every defence with `starts_plain`: the same weights, history and random states for all.

    Args:
        folder: where it lies; made if it is missing.
        vlm: the base model.
        data: the training data.
        config: of the training, settled.

    Attributes:
        seconds: what the training in the folder took, once it was taken; 0 before.

    Raises:
        PcvrError: the folder belongs to another training, or holds something else; or FSDP shards the model.
    """

    def __init__(self, folder: str | Path, vlm: VisionLanguageModel, data: Dataset, config: TrainConfig) -> None:
        if distributed.sharded():
            raise PcvrError("plain_start cannot hold a model that FSDP has sharded: leave plain_start out.")
        rule = PlainSFT()
        self.place = Checkpoints(folder, config.max_steps, plan_of(vlm, data, None, rule, config), rule)
        self.seconds = self._began = 0.0

    def serves(self, defense: Defense, plan: StagePlan, number: int) -> bool:
        """Return whether this is what stage `number` of a defence would train."""
        return number == 0 and plan == FULL_STAGE and defense.starts_plain

    def take(self, run: TrainingContext) -> dict[str, Any] | None:
        """Put weights and random states where a plain training leaves them.

        Returns:
            Its ``history`` and optimiser steps ``done``; None if there is no such training yet.
        """
        distributed.wait()
        if (end := self.place.end(0)) is None:
            self._began = time.perf_counter()
            return None
        content = self.place.read(end, run.vlm.device.type)
        with undamaged(end):
            put_back(run, content["weights"])
            set_random_states(run, content["random"])
            run.step, self.seconds = content["step"], content["seconds"]
            return {"history": content["history"], "done": content["done"]}

    def keep(self, trainer: DefenseTrainer) -> None:
        """Leave a finished stage in the folder, if it can be written and no other process is writing it."""
        run = trainer.run
        content = {
            "step": run.step,
            "done": trainer.state.global_step,
            "history": trainer.history,
            "weights": {n: p for n, p in run.vlm.model.named_parameters() if p.requires_grad},
            "random": random_states(run),
            "seconds": time.perf_counter() - self._began,
        }
        if run.rank == 0:
            try:
                with self.place.begin():
                    if self.place.end(0) is None:
                        self.place.write(0, None, content, {})
            except NotWritten:
                return  # another process writes the same, or there is no room: a later training makes it again
