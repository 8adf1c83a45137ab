"""What filters share that train twice: the attention before each answer, and the second training on what is kept."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from pcvr.defenses.base import Fit, StagePlan
from pcvr.defenses.pcvr.gate import Gate
from pcvr.errors import PcvrError
from pcvr.models.attention_hooks import mean_attention
from pcvr.models.encode import IGNORE
from pcvr.models.modes import eval_mode

if TYPE_CHECKING:
    from pcvr.defenses.context import TrainingContext
    from pcvr.models.encode import Batch

ENOUGH = 50
"""Samples below which a filter doubts its result (ours). Two modes are found in normally distributed values in 63 of
100 draws of 10 samples, in 23 of 100 draws of 20, and in 1 of 100 draws of 50."""

Reading = Callable[["Batch", Tensor, list[Tensor]], Tensor]
"""Summarises a batch: the samples, the position of each prompt's last token ``[B]``, and the attention of that token
``[B, heads, T]`` in each layer -> ``[B, ...]``."""


@torch.no_grad()
def attention_before_answers(
    run: TrainingContext, defense: str, reading: Reading, batch_size: int | None = None
) -> np.ndarray:
    """Return a summary of the attention of the last prompt token, which predicts the first token of the answer.

    Args:
        run: model and data.
        defense: its name, for errors.
        reading: summarises a batch; its tensors are on the CPU.
        batch_size: samples at a time; by default at most 16, since attention takes memory with the square of the
            sequence.

    Returns:
        float64 ``[N, ...]``, of every training sample.

    Raises:
        PcvrError: a sample has no answer, or the language model returns no attention or one that is not finite.
    """
    rows, found = run.own_rows(len(run.data)), []
    with eval_mode(run.vlm.model):
        for batch in run.batches(rows, 16, size=batch_size):
            last = _last_of_prompt(batch, defense)
            looking = torch.arange(batch["labels"].shape[1]) == last[:, None]
            with mean_attention(run.vlm, (0, 1), looking.to(run.vlm.device)) as layers:
                run.forward(batch)
            if not layers:
                raise PcvrError(
                    f"the language model of {run.vlm.name!r} returns no attention, and defence {defense!r} needs it: "
                    "take another model or defence."
                )
            found.append(reading(batch, last, [each.cpu() for each in layers]))
    whole = run.gather_rows(rows, torch.cat(found)).double().numpy()
    if not np.isfinite(whole).all():
        raise PcvrError(
            f"the attention of {run.vlm.name!r} is not finite after the training, and defence {defense!r} reads it: "
            "lower learning_rate."
        )
    return whole


def train_without(run: TrainingContext, fit: Fit, dropped: np.ndarray, gate: Gate, scores: np.ndarray) -> None:
    """Train again from the start without some samples; with none or all of them dropped, keep the model as it is.

    Training again on the same data would give the same model.

    Args:
        run: ``run.state`` gets ``kept``, the indices of the samples that the last training was on, and an entry in
            ``scorings``.
        fit: trains a stage.
        dropped: bool ``[N]``.
        gate: what was found, for tables of hits and false positives.
        scores: ``[N]``, low is suspicious.
    """
    run.state["scorings"].append({"step": run.step, "scores": scores, "gate": gate})
    if dropped.any() and not dropped.all():
        run.state["kept"] = np.flatnonzero(~dropped).tolist()
        fit(StagePlan("retrain", rows=run.state["kept"], fresh=True))


def enough_samples(defense: str, count: int) -> None:
    """Raise unless there are samples for two clusters.

    Raises:
        PcvrError: fewer than two.
    """
    if count < 2:
        raise PcvrError(f"defence {defense!r} got {count} sample: give at least 2, one for each cluster.")


def few_samples(defense: str, count: int, what: str) -> tuple[str, ...]:
    """Return a note if there are fewer than `ENOUGH` samples; `what` may then be found where there is none."""
    if count >= ENOUGH:
        return ()
    return (
        f"Defence {defense!r} had few samples ({count}): with fewer than {ENOUGH} it may find {what}; look at the "
        "dropped samples, or give more data.",
    )


def _last_of_prompt(batch: Batch, defense: str) -> Tensor:
    """Return the position of the last token before each answer: ``[B]``."""
    labelled = batch["labels"] != IGNORE
    if not labelled.any(1).all():
        raise PcvrError(
            f"{int((~labelled.any(1)).sum())} of {len(labelled)} samples of a batch have no answer token: "
            f"defence {defense!r} reads the token before an answer, so give each sample one."
        )
    return labelled.int().argmax(1) - 1
