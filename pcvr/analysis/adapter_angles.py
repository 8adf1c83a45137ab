"""What OrthoPurify (arXiv 2610.09941) looks at: principal angles between a received adapter and a benign one.

The formulas are in `pcvr.defenses.baselines.ortho_purify`.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np

from pcvr.defenses.baselines.ortho_purify import (
    Factors,
    OrthoPurify,
    adapted,
    hijacked_directions,
    put_factors,
    without_directions,
)
from pcvr.errors import PcvrError
from pcvr.utils.checks import check_choice

if TYPE_CHECKING:
    from pcvr.data.sample import Dataset
    from pcvr.models.vlm import VisionLanguageModel

PARTS = ("without the directions", "only the directions")
"""What `adapter_part` leaves of an adapter."""


def benign_reference(
    base: VisionLanguageModel, clean: Dataset, seed: int = 0, steps: int = 16, batch_size: int = 16
) -> VisionLanguageModel:
    """Return the base model after a few ordinary steps on trusted samples.

    Args:
        base: the model before fine-tuning.
        clean: trusted samples.
        seed: that of the received adapter, so that both start from the same untrained factors: with other ones nearly
            every angle is large, see `pcvr.defenses.OrthoPurify`.
        steps: optimiser steps (paper: 2 to 16).
        batch_size: samples of a step (paper: 8 to 16).
    """
    from pcvr.training import TrainConfig, finetune

    config = TrainConfig(max_steps=steps, batch_size=min(batch_size, len(clean)), seed=seed)
    return finetune(base, clean, "none", config, progress=False).model


def principal_angles(
    received: VisionLanguageModel, reference: VisionLanguageModel, directions: int = OrthoPurify.directions
) -> dict[str, np.ndarray]:
    """Return the principal angles of two adapters, matrix by matrix.

    Args:
        received: the model with the adapter that is suspected.
        reference: from `benign_reference`, with an adapter of the same matrices.
        directions: right singular vectors of each that are compared (paper: 10).

    Returns:
        Name of the layer to its angles in degrees, ascending, ``[k]``.

    Raises:
        PcvrError: a model has no LoRA adapter, or the adapters change different matrices.
    """
    mine, theirs = _both(received, reference)
    return {
        name: hijacked_directions(own, theirs[name], directions, OrthoPurify.angle)[0].numpy()
        for name, own in mine.items()
    }


@contextmanager
def adapter_part(
    received: VisionLanguageModel,
    reference: VisionLanguageModel,
    part: str,
    directions: int = OrthoPurify.directions,
    angle: float = OrthoPurify.angle,
) -> Iterator[None]:
    """Leave only a part of an adapter inside the block, and put the whole one back after it.

    ``dW (I - D D^T)`` without the hijacked directions ``D``, as OrthoPurify repairs it, or ``dW D D^T`` with only them.

    Args:
        received: the model, whose adapter changes inside the block.
        reference: from `benign_reference`.
        part: one of `PARTS`.
        directions: right singular vectors of each that are compared.
        angle: degrees above which a direction is hijacked.

    Raises:
        PcvrError: as `principal_angles`, or an unknown part.
    """
    check_choice("part", part, PARTS)
    mine, theirs = _both(received, reference)
    whole = {name: Factors(*(each.detach().clone() for each in own)) for name, own in mine.items()}
    left = {}
    for name, own in whole.items():
        _, hijacked = hijacked_directions(own, theirs[name], directions, angle)
        down = without_directions(own.down, hijacked)
        left[name] = Factors(down if part == PARTS[0] else own.down - down, own.up)
    put_factors(received, left)
    try:
        yield
    finally:
        put_factors(received, whole)


def _both(received: VisionLanguageModel, reference: VisionLanguageModel) -> tuple[dict[str, Factors], ...]:
    mine, theirs = adapted(received), adapted(reference)
    if {name: own.down.shape for name, own in mine.items()} != {name: own.down.shape for name, own in theirs.items()}:
        raise PcvrError("the two adapters change different matrices: make the reference with the same options of LoRA.")
    return mine, theirs
