"""The loss of one micro-batch as its part of an optimiser step: the same for every trainer and loop."""

from __future__ import annotations

import math

from torch import Tensor

from pcvr.errors import PcvrError
from pcvr.training.own_batch import label_tokens


def part_of_step(loss: Tensor, labels: Tensor, items: int | None, step: int, *, processes: int = 1) -> Tensor:
    """Weight a micro-batch's loss by its share of the step's label tokens, so that micro-batches are added up.

    The sum over a step's micro-batches is then the mean of the undivided batch.

    Args:
        loss: mean over the label tokens of the micro-batch, a scalar.
        labels: of the micro-batch, ``[B, T]``.
        items: label tokens of the whole step; None where the batch is the whole step.
        step: optimiser steps done, for the message.
        processes: processes that `items` counts over, whose gradients are averaged.

    Raises:
        PcvrError: the loss is not finite.
    """
    value = float(loss.detach())
    if not math.isfinite(value):
        raise PcvrError(f"the loss is {value} at step {step}: lower learning_rate or check the data for empty answers.")
    return loss if items is None else loss * (processes * label_tokens(labels) / max(1, items))
