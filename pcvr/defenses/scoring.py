"""How invariant the answers of the training data are between views, and how far the base model knew them anyway."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from pcvr.defenses.terms import DIVERGENCES, entropy, told_word
from pcvr.views import PatchView

if TYPE_CHECKING:
    from pcvr.models.encode import Batch
    from pcvr.run import Answers, Run

OVER = ("told", "words")


def divergence_of(said: Answers, seen: Answers, divergence: str, over: str) -> Tensor:
    """Cross-view divergence of each sample's answer, summed over its tokens: ``[B]``, nats (``"tv"``: no unit).

    Args:
        said: what the model says of the original.
        seen: what it says of the view.
        divergence: a name in `pcvr.defenses.terms.DIVERGENCES`.
        over: ``"words"``: of the whole distributions; ``"told"``: of the told word against all others.
    """
    one, other = said.logits, seen.logits
    if over == "told":
        one, other = told_word(one, said.targets), told_word(other, said.targets)
    return said.sample_sum(DIVERGENCES[divergence](one, other))


@torch.no_grad()
def score(
    run: Run,
    view: PatchView,
    views: int,
    batch_size: int = 128,
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
        batch_size: samples at a time.
        divergence: a name in `pcvr.defenses.terms.DIVERGENCES`.
        over: ``"words"`` or ``"told"``, see `divergence_of`.
        cleared_by: ``"base"`` or ``"now"`` adds the likelihood of the answer, see `known`; ``"off"`` nothing.
        enough: a sample whose score is this high, nats, is not suspicious: one that its likelihood alone brings so far
            is shown no view, one that its first view brings so far no other.
        rows: indices of the samples; None for all.

    Returns:
        ``(scores [N], entropies [N])`` in nats: the divergence between the answer tokens' distributions on the original
        and on a view, summed over tokens, mean over the views; low is suspicious. The sum says how much of the answer
        depends on the picture; in a mean the one word that depends on the trigger hides all the others. And the mean
        entropy of a token.
    """
    rows = list(range(len(run.data))) if rows is None else list(rows)
    scores, spreads = [], []
    for start in range(0, len(rows), batch_size):
        batch = run.data.batch(rows[start : start + batch_size])
        said = run.read(batch)
        clear = _likelihood(run, batch, said, cleared_by)
        total, seen = torch.zeros_like(clear), torch.zeros_like(clear)
        shown = (clear < enough).nonzero()[:, 0]
        for number in range(views):
            if number == 1:
                shown = shown[(total + clear)[shown] < enough]
            if not len(shown):
                break
            other = run.read(run.view(batch, view, shown))
            total[shown] += divergence_of(said.of(shown), other, divergence, over)
            seen[shown] += 1
        scores.append(total / seen.clamp_min(1) + clear)
        spreads.append(said.sample_mean(entropy(said.logits)))
    return torch.cat(scores).cpu().numpy(), torch.cat(spreads).cpu().numpy()


@torch.no_grad()
def known(run: Run, batch_size: int = 128, *, by: str = "base", rows: Sequence[int] | None = None) -> np.ndarray:
    """How likely each sample's answer is to a model: ``[N]`` in ``[0, 1]``.

    A question that can be answered without looking has an answer as invariant as a poisoned one. What tells them apart
    is that a model which has not learned from the training data gives the one and not the other (ours).

    Args:
        run: model and data.
        batch_size: samples at a time.
        by: ``"base"`` asks the base model, the adapter switched off; ``"now"`` the model as it is.
        rows: indices of the samples; None for all.
    """
    rows = list(range(len(run.data))) if rows is None else list(rows)
    found = [torch.zeros(0)]
    for start in range(0, len(rows), batch_size):
        batch = run.data.batch(rows[start : start + batch_size])
        found.append(_likelihood(run, batch, run.read(batch) if by == "now" else None, by).cpu())
    return torch.cat(found).numpy()


def _likelihood(run: Run, batch: Batch, said: Answers | None, by: str) -> Tensor:
    """The likelihood of a batch's answers, ``[B]``; `said` is what the model says now."""
    if by == "now" and said is not None:
        return said.likelihood()
    if by == "base":
        with run.vlm.model.disable_adapter():
            return run.read(batch).likelihood()
    return torch.zeros(len(batch["index"]), device=run.vlm.device)
