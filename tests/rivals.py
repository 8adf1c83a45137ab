"""Tiny models of all three families, and a run without a trainer, for tests of defences that train in stages."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from pcvr import TrainConfig, VisionLanguageModel
from pcvr.defenses.context import TrainingContext
from pcvr.defenses.stage_plan import FULL_STAGE, StagePlan
from pcvr.models.encode import IGNORE, Batch, EncodedData
from pcvr.training.finetune import with_adapter
from tests.tiny import Numbers

FAMILIES = ("llava", "blip-2", "idefics3")
SHORT = TrainConfig(max_steps=4, batch_size=4, lora_r=4, lora_alpha=8)


@dataclass
class Calls:
    """Stands in for the trainer: remembers what it was asked for."""

    run: TrainingContext
    made: list[StagePlan] = field(default_factory=list)

    def __call__(self, plan: StagePlan = FULL_STAGE, /) -> None:
        self.run.stage = plan.name
        self.made.append(plan)


def begun(vlm: VisionLanguageModel, samples: int = 10, clean: int = 5, features: bool = False) -> TrainingContext:
    """A run about to begin, with an adapter that is not empty."""
    adapted = with_adapter(vlm.copy(), SHORT)
    torch.manual_seed(1)
    with torch.no_grad():
        for name, weights in adapted.model.named_parameters():
            if "lora_B" in name:
                weights.normal_(0, 0.05)
    run = TrainingContext(vlm=adapted, data=EncodedData(adapted, Numbers(samples)), steps=4, seed=0)
    run.clean = EncodedData(adapted, Numbers(clean)) if clean else None
    if features:
        assert run.data.keep_features()
    return run


class Masked(EncodedData):
    """Data of which no answer counts."""

    def _item(self, index: int, row: Batch | None = None) -> Batch:
        row = super()._item(index, row)
        return row | {"labels": torch.full_like(row["labels"], IGNORE)}


def step_down(run: TrainingContext, rate: float) -> None:
    """Take one step of plain gradient descent with the gradients that are there."""
    with torch.no_grad():
        for weights in run.vlm.model.parameters():
            if weights.grad is not None:
                weights -= rate * weights.grad


def adapter(vlm: VisionLanguageModel) -> dict[str, Tensor]:
    return {k: v.detach().clone() for k, v in vlm.model.state_dict().items() if "lora_" in k}
