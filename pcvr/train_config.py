"""How a model is fine-tuned: one frozen config for every defence."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from pcvr.checks import is_number, is_whole
from pcvr.errors import PcvrError

PRECISIONS = (None, "fp32", "bf16")


@dataclass(frozen=True)
class TrainConfig:
    """How a model is fine-tuned; the same for every defence, so that only the defence differs."""

    steps: int = field(default=400, metadata={"help": "optimiser steps"})
    batch_size: int = field(default=32, metadata={"help": "samples a step, all processes and micro-batches together"})
    learning_rate: float = field(default=4e-3, metadata={"help": "peak learning rate, linear decay to zero"})
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

    def __post_init__(self) -> None:
        for name in ("steps", "batch_size", "rank", "alpha", "accumulation"):
            if not is_whole(getattr(self, name)) or getattr(self, name) < 1:
                raise PcvrError(f"{name} must be a whole number, at least 1, got {getattr(self, name)!r}.")
        if not is_whole(self.seed) or not 0 <= self.seed < 2**32:
            raise PcvrError(f"seed must be a whole number from 0 to 2**32 - 1, got {self.seed!r}.")
        if not is_number(self.learning_rate) or not 0 < self.learning_rate < math.inf:
            raise PcvrError(f"learning_rate must be a finite number above 0, got {self.learning_rate}.")
        if not is_number(self.warmup) or not 0 <= self.warmup < 1:
            raise PcvrError(f"warmup must lie in [0, 1), got {self.warmup}.")
        if self.batch_size % self.accumulation:
            raise PcvrError(
                f"accumulation is {self.accumulation}, which does not divide batch_size {self.batch_size}: "
                "give micro-batches of equal size."
            )
        if self.precision not in PRECISIONS:
            raise PcvrError(f"precision must be fp32, bf16 or None, got {self.precision!r}.")
