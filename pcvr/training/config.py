"""How a model is fine-tuned: one frozen config for every defence."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import ClassVar

from pcvr.errors import PcvrError, shown
from pcvr.utils.checks import check_flag, check_number, is_number, is_whole
from pcvr.utils.renamed import accepts_old_names

SMALL_RATE, LARGE_RATE = 4e-3, 2e-4
"""Default peak learning rates: the embedded models need far more than LoRA usually gets."""
MOST_EPOCHS = 10_000
MOST = 10**9
"""Upper limit of steps, samples and LoRA ranks: counters of 32 bits end beyond it."""
PRECISIONS = (None, "fp32", "bf16")


@accepts_old_names
@dataclass(frozen=True)
class TrainConfig:
    """How a model is fine-tuned; the same for every defence, so that only the defence differs.

    The names are those of Hugging Face's `TrainingArguments` and peft's `LoraConfig`.
    """

    RENAMED: ClassVar[Mapping[str, str]] = {
        "steps": "max_steps",
        "epochs": "num_train_epochs",
        "accumulation": "gradient_accumulation_steps",
        "warmup": "warmup_ratio",
        "rank": "lora_r",
        "alpha": "lora_alpha",
        "checkpointing": "gradient_checkpointing",
    }
    ADDED: ClassVar[Mapping[str, object]] = {"shuffle": True}
    """Fields that came later, with the values that older trainings had."""

    max_steps: int = field(default=400, metadata={"help": "optimiser steps"})
    batch_size: int = field(
        default=32, metadata={"help": "samples an optimiser step, all processes and micro-batches together"}
    )
    learning_rate: float | None = field(
        default=None,
        metadata={"help": "peak learning rate, linear decay to zero; None: 4e-3, above 200 M parameters 2e-4"},
    )
    warmup_ratio: float = field(default=0.06, metadata={"help": "fraction of the steps in which the rate rises"})
    lora_r: int = field(default=32, metadata={"help": "rank of the LoRA adapter"})
    lora_alpha: int = field(default=64, metadata={"help": "the adapter is scaled by lora_alpha / lora_r"})
    seed: int = field(default=0, metadata={"help": "seed of adapter, order and views"})
    gradient_checkpointing: bool | None = field(
        default=None, metadata={"help": "less memory, more time; None: for large models only"}
    )
    gradient_accumulation_steps: int = field(
        default=1, metadata={"help": "micro-batches that a step's samples are divided into: less memory, more time"}
    )
    precision: str | None = field(
        default=None,
        metadata={"help": "bf16: compute in bfloat16 (autocast); fp32: as the weights are; None: bf16 if they are"},
    )
    num_train_epochs: float | None = field(
        default=None, metadata={"help": "passes over the data, instead of max_steps"}
    )
    shuffle: bool = field(
        default=True, metadata={"help": "a new order in each pass over the data; False: always the order of the data"}
    )

    def __post_init__(self) -> None:
        for name in ("max_steps", "batch_size", "lora_r", "lora_alpha", "gradient_accumulation_steps"):
            value = getattr(self, name)
            if not is_whole(value) or not 1 <= value <= MOST:
                raise PcvrError(f"{name} must be a whole number from 1 to {MOST}, got {shown(value)}.")
        if not is_whole(self.seed) or not 0 <= self.seed < 2**32:
            raise PcvrError(f"seed must be a whole number from 0 to 2**32 - 1, got {shown(self.seed)}.")
        rate = self.learning_rate
        if rate is not None and (not is_number(rate) or not 0 < rate < math.inf):
            raise PcvrError(f"learning_rate must be a finite number above 0, got {shown(self.learning_rate)}.")
        if not is_number(self.warmup_ratio) or not 0 <= self.warmup_ratio < 1:
            raise PcvrError(f"warmup_ratio must lie in [0, 1), got {shown(self.warmup_ratio)}.")
        if self.batch_size % self.gradient_accumulation_steps:
            raise PcvrError(
                f"gradient_accumulation_steps is {self.gradient_accumulation_steps}, which does not divide batch_size "
                f"{self.batch_size}: give micro-batches of equal size."
            )
        if self.precision not in PRECISIONS:
            raise PcvrError(f"precision must be fp32, bf16 or None, got {shown(self.precision)}.")
        check_flag("shuffle", self.shuffle)
        if self.num_train_epochs is not None:
            check_number("num_train_epochs", self.num_train_epochs, 0, MOST_EPOCHS, "passes over the data", above=True)
            if self.max_steps != type(self).max_steps:
                raise PcvrError(
                    f"max_steps={self.max_steps} and num_train_epochs={self.num_train_epochs} both say how long: "
                    "give one of them."
                )

    def settled(self, samples: int, large: bool) -> TrainConfig:
        """The config with nothing left open: epochs become steps, and there is a learning rate.

        Args:
            samples: of the training data; the last step of an epoch may have fewer than `batch_size`.
            large: whether the model has more than 200 M parameters.
        """
        rate = (LARGE_RATE if large else SMALL_RATE) if self.learning_rate is None else self.learning_rate
        steps = self.max_steps
        if self.num_train_epochs is not None:
            steps = max(1, math.ceil(self.num_train_epochs * math.ceil(samples / self.batch_size)))
        return replace(self, max_steps=steps, num_train_epochs=None, learning_rate=rate)

    @property
    def peak(self) -> float:
        """The peak learning rate of a settled config."""
        assert self.learning_rate is not None, "the config is not settled yet"
        return self.learning_rate
