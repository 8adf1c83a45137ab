"""How an embedded checkpoint is made, and the recipe of each shipped one."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from pcvr.models.zoo import embedded
from pcvr.utils.checks import check_fields, check_seed, check_whole


@dataclass(frozen=True)
class PretrainConfig:
    """How an embedded checkpoint is made; the defaults made the shipped ones."""

    steps: int = field(default=6_400, metadata={"help": "optimiser steps; the learning rate falls over the last part"})
    seeing: float = field(default=0.55, metadata={"help": "share of the steps in which only tower and connector learn"})
    decay: float = field(default=0.35, metadata={"help": "share of the steps, the last ones, in which the rate falls"})
    batch_size: int = field(default=64, metadata={"help": "pictures a step"})
    learning_rate: float = field(default=1.5e-3, metadata={"help": "peak learning rate"})
    pictures: int = field(default=24_000, metadata={"help": "distinct scenes, drawn once and corrupted anew each time"})
    corrupted: float = field(default=0.6, metadata={"help": "share of the pictures that something is laid over"})
    ask_overlays: float = field(default=0.4, metadata={"help": "share of the pictures of which is asked what that is"})
    rebuild_weight: float = field(default=0.5, metadata={"help": "weight of rebuilding each patch's pixels"})
    naming_weight: float = field(default=10.0, metadata={"help": "weight of naming kinds and colours under each patch"})
    overlay_weight: float = field(default=5.0, metadata={"help": "weight of naming what is laid over each patch"})
    pointing_weight: float = field(default=0.3, metadata={"help": "weight of looking at what the next word speaks of"})
    language_from: str = field(default="", metadata={"help": "embedded model that gives its language model; '': none"})
    questions: int = field(default=5, metadata={"help": "questions a picture, each of another type"})
    seed: int = field(default=0, metadata={"help": "seed of weights, scenes and order"})

    def __post_init__(self) -> None:
        check_fields(self)
        for name in ("steps", "batch_size", "pictures"):
            check_whole(name, getattr(self, name), 1, 10**9)
        check_seed(self.seed, 2**32 - 1)  # the Trainer seeds NumPy's old generator too

    def shortened(self, steps: int) -> PretrainConfig:
        """The same recipe with a schedule of `steps`, for trying it out."""
        return replace(self, steps=steps, pictures=min(self.pictures, max(256, steps * self.batch_size)))


def recipe_of(name: str) -> PretrainConfig:
    """How the shipped checkpoint of the embedded model `name` was made."""
    return PretrainConfig(**embedded(name).recipe)
