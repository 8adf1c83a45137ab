"""How a model is fine-tuned: one frozen config for every defence."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace

from pcvr.errors import PcvrError, shown
from pcvr.utils.checks import check_number, is_number, is_whole

SMALL_RATE, LARGE_RATE = 4e-3, 2e-4
"""Peak learning rates where none is given: the embedded models take far more than what LoRA usually gets."""
MOST_EPOCHS = 10_000
MOST = 10**9
"""Of steps, samples and ranks: beyond it, counters of 32 bits end."""
PRECISIONS = (None, "fp32", "bf16")


@dataclass(frozen=True)
class TrainConfig:
    """How a model is fine-tuned; the same for every defence, so that only the defence differs."""

    steps: int = field(default=400, metadata={"help": "optimiser steps"})
    batch_size: int = field(default=32, metadata={"help": "samples a step, all processes and micro-batches together"})
    learning_rate: float | None = field(
        default=None,
        metadata={"help": "peak learning rate, linear decay to zero; None: 4e-3, above 200 M parameters 2e-4"},
    )
    warmup: float = field(default=0.06, metadata={"help": "share of the steps in which the rate rises"})
    rank: int = field(default=32, metadata={"help": "LoRA rank"})
    alpha: int = field(default=64, metadata={"help": "LoRA scale is alpha / rank"})
    seed: int = field(default=0, metadata={"help": "seed of adapter, order and views"})
    checkpointing: bool | None = field(
        default=None, metadata={"help": "gradient checkpointing: less memory, more time; None: for large models only"}
    )
    accumulation: int = field(
        default=1, metadata={"help": "micro-batches that a step's samples are handled in: less memory, more time"}
    )
    precision: str | None = field(
        default=None,
        metadata={"help": "bf16: compute in bfloat16 (autocast); fp32: as the weights are; None: bf16 if they are"},
    )

    epochs: float | None = field(default=None, metadata={"help": "passes over the data, in place of steps"})

    def __post_init__(self) -> None:
        for name in ("steps", "batch_size", "rank", "alpha", "accumulation"):
            value = getattr(self, name)
            if not is_whole(value) or not 1 <= value <= MOST:
                raise PcvrError(f"{name} must be a whole number from 1 to {MOST}, got {shown(value)}.")
        if not is_whole(self.seed) or not 0 <= self.seed < 2**32:
            raise PcvrError(f"seed must be a whole number from 0 to 2**32 - 1, got {shown(self.seed)}.")
        rate = self.learning_rate
        if rate is not None and (not is_number(rate) or not 0 < rate < math.inf):
            raise PcvrError(f"learning_rate must be a finite number above 0, got {shown(self.learning_rate)}.")
        if not is_number(self.warmup) or not 0 <= self.warmup < 1:
            raise PcvrError(f"warmup must lie in [0, 1), got {shown(self.warmup)}.")
        if self.batch_size % self.accumulation:
            raise PcvrError(
                f"accumulation is {self.accumulation}, which does not divide batch_size {self.batch_size}: "
                "give micro-batches of equal size."
            )
        if self.precision not in PRECISIONS:
            raise PcvrError(f"precision must be fp32, bf16 or None, got {shown(self.precision)}.")
        if self.epochs is not None:
            check_number("epochs", self.epochs, 0, MOST_EPOCHS, "passes over the data", above=True)
            if self.steps != type(self).steps:
                raise PcvrError(f"steps={self.steps} and epochs={self.epochs} both say how long: give one of them.")

    def settled(self, samples: int, large: bool) -> TrainConfig:
        """The config of a training, with nothing left open: epochs become steps, and there is a learning rate.

        Args:
            samples: of the training data; a last step of an epoch may have fewer than `batch_size`.
            large: whether the model is one that is adapted in place (see `pcvr.finetune`).
        """
        rate = (LARGE_RATE if large else SMALL_RATE) if self.learning_rate is None else self.learning_rate
        steps = self.steps
        if self.epochs is not None:
            steps = max(1, math.ceil(self.epochs * math.ceil(samples / self.batch_size)))
        return replace(self, steps=steps, epochs=None, learning_rate=rate)

    @property
    def peak(self) -> float:
        """The peak learning rate of a settled config."""
        assert self.learning_rate is not None, "the config is not settled yet"
        return self.learning_rate
