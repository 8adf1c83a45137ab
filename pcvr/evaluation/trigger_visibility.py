"""What the tower sees of a trigger: how far its features move, and how easily the trigger is told from them."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch

from pcvr.attacks.poison import triggered
from pcvr.errors import PcvrError
from pcvr.models.budget import check_size
from pcvr.models.embed import as_levels, embed

if TYPE_CHECKING:
    from pcvr.attacks import Attack
    from pcvr.data.sample import Dataset
    from pcvr.models.vlm import VisionLanguageModel

PICTURES_BYTES = 16 * 2**20
"""Decoded pictures that go to the tower at a time; as floats they take sixteen times as much."""


class FeatureShift(NamedTuple):
    """How far features move, one value a picture; 1 is the mean distance between two different clean pictures.

    Attributes:
        moved: ``[N]``, distance from the clean to the triggered picture, over all tokens.
        apart: ``[N]``, of the triggered pictures, mean distance from one to the others: below that of clean ones (1),
            the trigger makes pictures alike.
    """

    moved: np.ndarray
    apart: np.ndarray


@torch.inference_mode()
def seen_by_tower(
    vlm: VisionLanguageModel, data: Dataset, attack: Attack, batch_size: int | None = None
) -> FeatureShift:
    """Distances between the tower's features of clean and of triggered pictures.

    Args:
        vlm: the model; only its tower is used, which fine-tuning leaves as it is.
        data: clean samples with pictures of one size, some dozens.
        attack: puts the trigger on.
        batch_size: pictures at a time; None for at most 64, and fewer where they are large.

    Raises:
        PcvrError: fewer than two samples, or pictures of several sizes.
    """
    before, after = _features(vlm, data, attack, batch_size)
    others = len(before) - 1
    unit = (torch.cdist(before, before).sum() / (len(before) * others)).clamp_min(1e-12)
    return FeatureShift(
        ((before - after).norm(dim=1) / unit).cpu().numpy(),
        (torch.cdist(after, after).sum(1) / others / unit).cpu().numpy(),
    )


class Found(NamedTuple):
    """What a linear probe on the tower's features finds.

    Attributes:
        share: of unseen triggered pictures, those it calls triggered, 0 to 1.
        alarms: of unseen clean pictures, those it calls triggered, 0 to 1.
    """

    share: float
    alarms: float


@torch.inference_mode()
def found_by_probe(
    vlm: VisionLanguageModel, data: Dataset, attack: Attack, examples: int = 10, batch_size: int | None = None
) -> Found:
    """How easily a trigger can be told from what the frozen tower gives, from as few examples as poison offers.

    A logistic regression on the features (standardised, ridge penalty) sees half of the pictures clean and `examples`
    of them triggered; what it says of the other half, clean and triggered, is counted. A backdoor needs no more of the
    tower than that, so an attack that the probe does not find will not take while the tower stays frozen (our measure).

    Args:
        vlm: the model; only its tower is used.
        data: clean samples with pictures of one size, some hundred.
        attack: puts the trigger on.
        examples: triggered pictures that the probe learns from.
        batch_size: pictures at a time; None for at most 64, and fewer where they are large.

    Raises:
        PcvrError: fewer than two samples, pictures of several sizes, or more examples than half of the samples.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    half = len(data) // 2
    if not 1 <= examples <= half:
        raise PcvrError(f"examples is {examples}: give 1 to {half}, half of the {len(data)} samples.")
    before, after = (part.cpu().numpy() for part in _features(vlm, data, attack, batch_size))
    probe = make_pipeline(StandardScaler(), LogisticRegression(C=0.01, class_weight="balanced", max_iter=300))
    probe.fit(np.concatenate([before[:half], after[:examples]]), np.repeat([False, True], [half, examples]))
    return Found(float(probe.predict(after[half:]).mean()), float(probe.predict(before[half:]).mean()))


def _features(
    vlm: VisionLanguageModel, data: Dataset, attack: Attack, batch_size: int | None
) -> tuple[torch.Tensor, torch.Tensor]:
    """The tower's features of clean and of triggered pictures, ``[N, tokens x width]`` each."""
    check_size("batch_size", batch_size)
    if len(data) < 2:
        raise PcvrError(f"the tower was to see {len(data)} pictures: give two or more, all of one size.")
    shape = data[0].image.shape
    fitting = max(1, PICTURES_BYTES // math.prod(shape))
    size = min(64, fitting) if batch_size is None else batch_size
    parts = []
    for worn in (data, triggered(data, attack, model=vlm, check_trigger=False)):
        features = []
        for start in range(0, len(worn), size):
            pictures = [worn[i].image for i in range(start, min(start + size, len(worn)))]
            if any(picture.shape != shape for picture in pictures):
                raise PcvrError(f"the tower was to see {len(data)} pictures: give two or more, all of one size.")
            features.append(embed(vlm, as_levels(np.stack(pictures))).flatten(1))
        parts.append(torch.cat(features))
    return parts[0], parts[1]
