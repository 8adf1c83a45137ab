"""How invariant the answers of the training data are between views, and how far the base model knew them anyway."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from pcvr.defenses.losses import DIVERGENCES, entropy, told_word
from pcvr.views import PatchView

if TYPE_CHECKING:
    from pcvr.defenses.context import TrainingContext
    from pcvr.models.encode import Batch
    from pcvr.models.forward import AnswerLogits

MOST = 128
"""Samples that are scored at a time at most."""
ONE_IN = 8
"""Of the samples that need no view one in so many is shown one all the same, for the spread of their scores."""


def divergence_of(said: AnswerLogits, seen: AnswerLogits, divergence: str, over: str) -> Tensor:
    """Cross-view divergence of each sample's answer, summed over its tokens: ``[B]``, nats (``"tv"``: no unit).

    Args:
        said: what the model says of the original.
        seen: what it says of the view.
        divergence: a name in `pcvr.defenses.losses.DIVERGENCES`.
        over: ``"words"``: of the whole distributions; ``"told"``: of the told word against all others.
    """
    one, other = said.logits, seen.logits
    if over == "told":
        one, other = told_word(one, said.targets), told_word(other, said.targets)
    return said.sample_sum(DIVERGENCES[divergence](one, other))


@torch.no_grad()
def score(
    run: TrainingContext,
    view: PatchView,
    views: int,
    batch_size: int | None = None,
    *,
    divergence: str = "js",
    over: str = "words",
    cleared_by: str = "off",
    enough: float = math.inf,
    rows: Sequence[int] | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Cross-view divergence and answer entropy of training samples.

    Args:
        run: model and data.
        view: how views are made.
        views: how many the divergence is averaged over.
        batch_size: samples at a time; None for as many as fit the memory, at most `MOST`.
        divergence: a name in `pcvr.defenses.losses.DIVERGENCES`.
        over: ``"words"`` or ``"told"``, see `divergence_of`.
        cleared_by: ``"base"`` or ``"now"`` adds the likelihood of the answer, see `known`; ``"off"`` nothing.
        enough: a sample whose score is this high, nats, is not suspicious: one that its first view brings so far is
            shown no other, and of those that their likelihood alone brings so far only one in `ONE_IN` is shown one.
        rows: indices of the samples; None for all.

    Returns:
        ``(scores [N], entropies [N])`` in nats: the divergence between the answer tokens' distributions on the original
        and on a view, summed over tokens, mean over the views; low is suspicious. The sum says how much of the answer
        depends on the picture; in a mean the one word that depends on the trigger hides all the others. And the mean
        entropy of a token.
    """
    rows = list(range(len(run.data))) if rows is None else list(rows)
    moved, likely, spreads = [], [], []
    start = 0
    for batch in run.batches(rows, MOST, size=batch_size, about="score samples"):
        said = run.forward_no_grad(batch)
        clear = _likelihood(run, batch, said, cleared_by)
        total, seen = torch.zeros_like(clear), torch.zeros_like(clear)
        turn = torch.arange(start, start + len(clear), device=clear.device) % ONE_IN == 0
        start += len(clear)
        shown = ((clear < enough) | turn).nonzero()[:, 0]
        for number in range(views):
            if number == 1:
                shown = shown[(total + clear)[shown] < enough]
            if not len(shown):
                break
            other = run.forward_no_grad(run.view(batch, view, shown))
            total[shown] += divergence_of(said.of(shown), other, divergence, over)
            seen[shown] += 1
        moved.append(total / seen)  # not a number where no view was shown
        likely.append(clear)
        spreads.append(said.sample_mean(entropy(said.logits)))
    known_anyway = torch.cat(likely).cpu().numpy()
    scores = _filled(torch.cat(moved).cpu().numpy(), known_anyway >= enough) + known_anyway
    return scores, torch.cat(spreads).cpu().numpy()


def _filled(moved: np.ndarray, cleared: np.ndarray) -> np.ndarray:
    """Divergences ``[N]``; a cleared sample that was shown no view has that of the last one before it that was.

    So the scores of cleared samples are spread as they would be, and a mixture over all scores comes out the same.
    """
    donors = cleared & ~np.isnan(moved)
    if not donors.any():
        return np.nan_to_num(moved)
    last = np.maximum.accumulate(np.where(donors, np.arange(len(moved)), int(np.argmax(donors))))
    return np.where(np.isnan(moved), moved[last], moved)


@torch.no_grad()
def known(
    run: TrainingContext, batch_size: int | None = None, *, by: str = "base", rows: Sequence[int] | None = None
) -> np.ndarray:
    """How likely each sample's answer is to a model: ``[N]`` in ``[0, 1]``.

    A question that can be answered without looking has an answer as invariant as a poisoned one. What tells them apart
    is that a model which has not learned from the training data gives the one and not the other (ours).

    Args:
        run: model and data.
        batch_size: samples at a time; None for as many as fit the memory, at most `MOST`.
        by: ``"base"`` asks the base model, the adapter switched off; ``"now"`` the model as it is.
        rows: indices of the samples; None for all.
    """
    rows = list(range(len(run.data))) if rows is None else list(rows)
    found = [torch.zeros(0)]
    for batch in run.batches(rows, MOST, size=batch_size, about="score samples"):
        found.append(_likelihood(run, batch, run.forward_no_grad(batch) if by == "now" else None, by).cpu())
    return torch.cat(found).numpy()


def _likelihood(run: TrainingContext, batch: Batch, said: AnswerLogits | None, by: str) -> Tensor:
    """The likelihood of a batch's answers, ``[B]``; `said` is what the model says now."""
    if by == "now" and said is not None:
        return said.likelihood()
    if by == "base":
        with run.vlm.model.disable_adapter():
            return run.forward_no_grad(batch).likelihood()
    return torch.zeros(len(batch["index"]), device=run.vlm.device)
