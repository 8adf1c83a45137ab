"""What a model gets of samples, and its pixels as pictures that a person can look at."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from pcvr.models.encode import encode_samples
from pcvr.models.layout import tiles_of

if TYPE_CHECKING:
    from pcvr.data.sample import Sample
    from pcvr.models.encode import Batch
    from pcvr.models.vlm import VisionLanguageModel


def encoded(vlm: VisionLanguageModel, samples: Sequence[Sample], said: Sequence[str]) -> list[Batch]:
    """The samples as tensors, with other answers."""
    return encode_samples(vlm, [replace(s, answer=text) for s, text in zip(samples, said, strict=True)])


def to_pictures(vlm: VisionLanguageModel, rows: Sequence[Batch]) -> list[np.ndarray]:
    """What the tower gets of encoded samples, for looking at: uint8 ``[H, W, 3]`` each, resized and cropped.

    Levels outside 0 to 255 (noise has some) are cut. Of a picture in tiles the one that shows all of it is given.
    """
    prepare = vlm.processor.image_processor
    mean, std = (torch.tensor(v).view(3, 1, 1) for v in (prepare.image_mean, prepare.image_std))
    levels = (255 * (overview(vlm, row).cpu().float() * std + mean) for row in rows)
    return [each.round().clamp(0, 255).to(torch.uint8).permute(1, 2, 0).numpy() for each in levels]


def overview(vlm: VisionLanguageModel, row: Batch) -> Tensor:
    """The tile of an encoded picture that shows all of it: float ``[3, H, W]``, normalised."""
    return tiles_of(vlm, row)[vlm.family.overview]
