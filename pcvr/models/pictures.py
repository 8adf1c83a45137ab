"""Samples encoded with other answers, and a model's input pixels as images to look at."""

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


def encode_answers(vlm: VisionLanguageModel, samples: Sequence[Sample], answers: Sequence[str]) -> list[Batch]:
    """Encode samples with `answers` in place of their own."""
    return encode_samples(vlm, [replace(s, answer=text) for s, text in zip(samples, answers, strict=True)])


def to_pictures(vlm: VisionLanguageModel, rows: Sequence[Batch]) -> list[np.ndarray]:
    """Return the tower's input of encoded samples as images: uint8 ``[H, W, 3]`` each, resized and cropped.

    Levels outside 0 to 255 (from noise) are clipped. Of an image in tiles, the overview is returned.
    """
    prepare = vlm.processor.image_processor
    mean, std = (torch.tensor(v).view(3, 1, 1) for v in (prepare.image_mean, prepare.image_std))
    levels = (255 * (overview(vlm, row).cpu().float() * std + mean) for row in rows)
    return [each.round().clamp(0, 255).to(torch.uint8).permute(1, 2, 0).numpy() for each in levels]


def overview(vlm: VisionLanguageModel, row: Batch) -> Tensor:
    """Return the tile that shows the whole image of an encoded sample: float ``[3, H, W]``, normalised."""
    return tiles_of(vlm, row)[vlm.family.overview]
