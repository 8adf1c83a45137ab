"""An exponential moving average of the trained weights, and the model with it in place."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch
from torch import nn

if TYPE_CHECKING:
    from pcvr.defenses.context import TrainingContext

WEIGHTS, STEP = "average", "averaged at"
"""Entries of ``run.state``: float32 weights by name, and the optimiser step that they include."""


def begin(run: TrainingContext) -> None:
    """Start the average at the present weights."""
    run.state[WEIGHTS] = {name: p.detach().float().clone() for name, p in _trained(run.vlm.model)}
    run.state[STEP] = 0


@torch.no_grad()
def follow(run: TrainingContext, decay: float) -> None:
    """Take the weights into the average once after each optimiser step: ``a <- decay a + (1 - decay) w``.

    Call it before each loss. Further micro-batches of the same step change nothing. The average is float32, since
    half precision would lose small steps.
    """
    if run.step == run.state[STEP]:
        return
    for name, weights in _trained(run.vlm.model):
        run.state[WEIGHTS][name].lerp_(weights.float(), 1 - decay)
    run.state[STEP] = run.step


@contextmanager
def averaged(run: TrainingContext) -> Iterator[None]:
    """Put the average in place of the trained weights inside the block; run it without gradients."""
    before = [(weights, weights.data) for _, weights in _trained(run.vlm.model)]
    try:
        for name, weights in _trained(run.vlm.model):
            weights.data = run.state[WEIGHTS][name].to(weights)
        yield
    finally:
        for weights, data in before:
            weights.data = data


def _trained(model: nn.Module) -> list[tuple[str, nn.Parameter]]:
    return [(name, weights) for name, weights in model.named_parameters() if weights.requires_grad]
