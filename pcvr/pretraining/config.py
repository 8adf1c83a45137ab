"""The recipe of an embedded checkpoint, and those of the shipped ones."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import ClassVar

from pcvr.models.zoo import embedded
from pcvr.utils.checks import check_fields, check_seed, check_whole
from pcvr.utils.renamed import accepts_old_names


@accepts_old_names
@dataclass(frozen=True)
class PretrainConfig:
    """The recipe of an embedded checkpoint; the defaults are those of ``tiny-llava``."""

    RENAMED: ClassVar[Mapping[str, str]] = {"steps": "max_steps"}

    max_steps: int = field(
        default=6_400, metadata={"help": "optimiser steps; the learning rate falls over the last part"}
    )
    seeing: float = field(default=0.55, metadata={"help": "fraction of the steps that train tower and connector only"})
    decay: float = field(default=0.35, metadata={"help": "fraction of the steps, at the end, in which the rate falls"})
    batch_size: int = field(default=64, metadata={"help": "images a step"})
    learning_rate: float = field(default=1.5e-3, metadata={"help": "peak learning rate"})
    pictures: int = field(default=24_000, metadata={"help": "distinct scenes; each use draws a new corruption"})
    corrupted: float = field(default=0.6, metadata={"help": "fraction of the images with overlays"})
    ask_overlays: float = field(default=0.4, metadata={"help": "fraction of the images with a question about overlays"})
    rebuild_weight: float = field(default=0.5, metadata={"help": "weight of reconstructing each patch's pixels"})
    naming_weight: float = field(default=10.0, metadata={"help": "weight of naming kinds and colours under each patch"})
    overlay_weight: float = field(default=5.0, metadata={"help": "weight of naming the overlay of each patch"})
    pointing_weight: float = field(default=0.3, metadata={"help": "weight of attending to the object of the next word"})
    language_from: str = field(default="", metadata={"help": "embedded model whose language model is copied; '': none"})
    questions: int = field(default=5, metadata={"help": "questions an image, each of another type"})
    seed: int = field(default=0, metadata={"help": "seed of weights, scenes and their order"})

    def __post_init__(self) -> None:
        check_fields(self)
        for name in ("max_steps", "batch_size", "pictures"):
            check_whole(name, getattr(self, name), 1, 10**9)
        check_seed(self.seed, 2**32 - 1)  # the Trainer seeds NumPy's old generator too

    def shortened(self, steps: int) -> PretrainConfig:
        """Return the same recipe with a schedule of `steps`, for a short trial."""
        return replace(self, max_steps=steps, pictures=min(self.pictures, max(256, steps * self.batch_size)))


def recipe_of(name: str) -> PretrainConfig:
    """Return the recipe of the shipped checkpoint of the embedded model `name`."""
    return PretrainConfig(**embedded(name).recipe)
