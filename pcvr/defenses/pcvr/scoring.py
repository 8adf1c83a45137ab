"""Score training samples: how much their labels depend on the image, and how likely a model finds them."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from pcvr.defenses.losses import DIVERGENCES, entropy, label_vs_rest
from pcvr.views import PatchView

if TYPE_CHECKING:
    from pcvr.defenses.context import TrainingContext
    from pcvr.models.encode import Batch
    from pcvr.models.forward import AnswerLogits

LARGEST_BATCH = 128
"""Most samples that are scored at a time."""
ONE_IN = 8
"""Of the samples that their likelihood alone clears, one in so many is shown a view, to sample their scores."""


def divergence_of(said: AnswerLogits, seen: AnswerLogits, divergence: str, score_on: str) -> Tensor:
    """Compute the cross-view divergence of each sample, summed over its answer tokens: ``[B]``, nats; no unit for tv.

    The sum measures how much of the answer depends on the image. In a mean, the one word that depends on the trigger
    would be outweighed by all the others.

    Args:
        said: the model's answers to the originals.
        seen: its answers to the views.
        divergence: a name in `pcvr.defenses.losses.DIVERGENCES`.
        score_on: ``"distribution"``: of the whole distributions; ``"label"``: of the label token against all others.
    """
    one, other = said.logits, seen.logits
    if score_on == "label":
        one, other = label_vs_rest(one, said.targets), label_vs_rest(other, said.targets)
    return said.sample_sum(DIVERGENCES[divergence](one, other))


def view_divergences(
    run: TrainingContext,
    batch: Batch,
    said: AnswerLogits,
    view: PatchView,
    *score_on: str,
    divergence: str = "js",
    rows: Tensor | None = None,
) -> list[Tensor]:
    """Draw a view of each sample and compute how far the answers to it diverge: ``[B]`` for each way to score.

    Args:
        run: model and data.
        batch: the originals.
        said: the model's answers to them.
        view: how the view is made.
        score_on: ways to score, as in `divergence_of`.
        divergence: a name in `pcvr.defenses.losses.DIVERGENCES`.
        rows: rows of the batch to look at, ``[B]``; None for all.
    """
    seen = run.forward_no_grad(run.view(batch, view, rows))
    own = said if rows is None else said.of(rows)
    return [divergence_of(own, seen, divergence, each) for each in score_on]


@torch.no_grad()
def score(
    run: TrainingContext,
    view: PatchView,
    views: int,
    batch_size: int | None = None,
    *,
    divergence: str = "js",
    score_on: str = "distribution",
    clear_with: str = "off",
    clear_threshold: float = math.inf,
    rows: Sequence[int] | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Compute the suspicion score and the answer entropy of training samples.

    Args:
        run: model and data.
        view: how views are made.
        views: most views that the divergence of a sample is averaged over.
        batch_size: samples at a time; None for as many as fit the memory, at most `LARGEST_BATCH`.
        divergence: a name in `pcvr.defenses.losses.DIVERGENCES`.
        score_on: ``"distribution"`` or ``"label"``, see `divergence_of`.
        clear_with: model whose likelihood of the answer is added: ``"base"``, ``"now"`` or ``"off"``, see
            `answer_likelihood`.
        clear_threshold: a sample whose score reaches this, nats, is not suspicious. It is shown no further view. Of
            the samples whose likelihood alone reaches it, only one in `ONE_IN` is shown a view.
        rows: indices of the samples; None for all.

    Returns:
        ``(scores [N], entropies [N])`` in nats. A score is the mean divergence over the views, plus the likelihood; low
        is suspicious. An entropy is the mean over the answer tokens.
    """
    divergences, likelihoods, entropies = [], [], []
    start = 0
    for batch in _batches(run, rows, batch_size):
        said = run.forward_no_grad(batch)
        likelihood = _likelihood(run, batch, said, clear_with)
        total, drawn = torch.zeros_like(likelihood), torch.zeros_like(likelihood)
        sampled = torch.arange(start, start + len(likelihood), device=likelihood.device) % ONE_IN == 0
        start += len(likelihood)
        shown = ((likelihood < clear_threshold) | sampled).nonzero()[:, 0]
        for number in range(views):
            if number == 1:
                shown = shown[(total + likelihood)[shown] < clear_threshold]
            if not len(shown):
                break
            (found,) = view_divergences(run, batch, said, view, score_on, divergence=divergence, rows=shown)
            total[shown] += found
            drawn[shown] += 1
        divergences.append(total / drawn)  # NaN without a view
        likelihoods.append(likelihood)
        entropies.append(said.sample_mean(entropy(said.logits)))
    likely = torch.cat(likelihoods).cpu().numpy()
    scores = _filled(torch.cat(divergences).cpu().numpy(), likely >= clear_threshold) + likely
    return scores, torch.cat(entropies).cpu().numpy()


def _filled(divergences: np.ndarray, cleared: np.ndarray) -> np.ndarray:
    """Give each cleared sample without a view the divergence of the last cleared one before it with a view, ``[N]``.

    So the scores of cleared samples keep their distribution, and the mixture over all scores stays the same.
    """
    donors = cleared & ~np.isnan(divergences)
    if not donors.any():
        return np.nan_to_num(divergences)
    last = np.maximum.accumulate(np.where(donors, np.arange(len(divergences)), int(np.argmax(donors))))
    return np.where(np.isnan(divergences), divergences[last], divergences)


@torch.no_grad()
def answer_likelihood(
    run: TrainingContext, batch_size: int | None = None, *, clear_with: str = "base", rows: Sequence[int] | None = None
) -> np.ndarray:
    """Compute how likely a model finds the label of each sample: ``[N]`` in ``[0, 1]``.

    The label of a question that can be answered without the image is as invariant as a poisoned one. A model that has
    not learned from the training data tells them apart: it gives the first and not the second (ours; BYORn, arXiv
    2606.02947, scored labels by the base model's likelihood before us).

    Args:
        run: model and data.
        batch_size: samples at a time; None for as many as fit the memory, at most `LARGEST_BATCH`.
        clear_with: ``"base"`` asks the base model, with the adapter off; ``"now"`` the model as it is; ``"off"`` gives
            zeros.
        rows: indices of the samples; None for all.
    """
    found = [torch.zeros(0)]
    for batch in _batches(run, rows, batch_size):
        said = run.forward_no_grad(batch) if clear_with == "now" else None
        found.append(_likelihood(run, batch, said, clear_with).cpu())
    return torch.cat(found).numpy()


def _batches(run: TrainingContext, rows: Sequence[int] | None, batch_size: int | None) -> Iterator[Batch]:
    rows = range(len(run.data)) if rows is None else rows
    return run.batches(rows, LARGEST_BATCH, size=batch_size, about="score samples")


def _likelihood(run: TrainingContext, batch: Batch, said: AnswerLogits | None, clear_with: str) -> Tensor:
    """Compute the likelihood of a batch's labels, ``[B]``; `said` are the answers of the model as it is."""
    if clear_with == "now" and said is not None:
        return said.likelihood()
    if clear_with == "base":
        return run.base_forward_no_grad(batch).likelihood()
    return torch.zeros(len(batch["index"]), device=run.vlm.device)
