"""The terms of the losses, each a short pure function on packed distributions.

Shapes: ``A`` answer tokens of a batch, ``V`` tokens of the vocabulary, ``B`` samples. Everything is in nats.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity, cross_entropy, log_softmax, relu

LN2 = math.log(2)
"""The largest possible Jensen-Shannon divergence, in nats."""


def js_divergence(logits: Tensor, other: Tensor) -> Tensor:
    """Compute the Jensen-Shannon divergence of each token: ``(KL(p || m) + KL(q || m)) / 2`` with ``m = (p + q) / 2``.

    Args:
        logits: ``[A, V]``, unnormalised.
        other: ``[A, V]``, unnormalised.

    Returns:
        ``[A]`` in ``[0, ln 2]`` nats. The paper says "output difference"; the divergence is our choice: it is
        bounded, so that pulling apart has an end.
    """
    p, q = log_softmax(logits, -1), log_softmax(other, -1)
    m = torch.logaddexp(p, q) - LN2
    return ((p.exp() * (p - m)).sum(-1) + (q.exp() * (q - m)).sum(-1)).clamp_min(0) / 2


def kl_divergence(logits: Tensor, other: Tensor) -> Tensor:
    """Compute ``KL(p || q)``, the Kullback-Leibler divergence, of each row: ``[A, V]`` twice -> ``[A]``, nats."""
    p, q = log_softmax(logits, -1), log_softmax(other, -1)
    return (p.exp() * (p - q)).sum(-1).clamp_min(0)


def reverse_kl_divergence(logits: Tensor, other: Tensor) -> Tensor:
    """Compute ``KL(q || p)``: `kl_divergence` with its arguments exchanged."""
    return kl_divergence(other, logits)


def total_variation(logits: Tensor, other: Tensor) -> Tensor:
    """Compute the total variation ``sum |p - q| / 2`` of each row: ``[A, V]`` twice -> ``[A]`` in ``[0, 1]``."""
    return (logits.softmax(-1) - other.softmax(-1)).abs().sum(-1) / 2


DIVERGENCES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "js": js_divergence,
    "kl": kl_divergence,
    "reverse_kl": reverse_kl_divergence,
    "tv": total_variation,
}
"""Divergence by name: ``(logits [A, V], other [A, V]) -> [A]``. The second argument is the view."""

LARGEST = {"js": LN2, "kl": 20.0, "reverse_kl": 20.0, "tv": 1.0}
"""The largest cap that has an effect: the bound of a divergence, or what float precision allows."""


def label_vs_rest(logits: Tensor, targets: Tensor) -> Tensor:
    """Return logits of two outcomes, the label token and all others: ``[A, V]`` and ``[A]`` -> ``[A, 2]``.

    A divergence of these measures how much the *label* depends on the image. A divergence of the whole distributions
    cannot measure that for a one-word answer: it compares the model's predictions before the label is read, so it is
    the same whatever the label claims (ours).
    """
    label = log_softmax(logits, -1).gather(1, targets[:, None])[:, 0]
    rest = torch.log1p(-label.exp().clamp(max=1 - 1e-6))
    return torch.stack([label, rest], -1)


def weighted_cross_entropy(logits: Tensor, targets: Tensor, weight: Tensor) -> Tensor:
    """Compute the weighted mean of the tokens' cross-entropy: ``[A, V]``, ``[A]``, ``[A]`` -> a scalar, nats."""
    losses = cross_entropy(logits, targets, reduction="none")
    return (weight * losses).sum() / weight.sum().clamp_min(1e-6)


def entropy(logits: Tensor) -> Tensor:
    """Compute the Shannon entropy of each distribution: ``[A, V]`` -> ``[A]`` in ``[0, ln V]`` nats."""
    p = log_softmax(logits, -1)
    return -(p.exp() * p).sum(-1)


def pull_apart(
    divergence: Tensor, gate: Tensor, cap: float, total: Tensor | None = None, bound: str = "hinge"
) -> Tensor:
    """Compute how much the views of suspicious samples still agree: ``sum g relu(cap - d) / sum g``.

    Args:
        divergence: ``[B]``, cross-view divergence of each sample, nats.
        gate: ``[B]`` in ``[0, 1]``, the suspicion; 0 leaves a sample alone.
        cap: divergence that is large enough; above it there is no gradient.
        total: replaces `gate` in the denominator. With the full suspicion there, the term fades as the gate fades with
            an answer that is unlearned (ours).
        bound: ``"hinge"`` caps each sample; ``"cap"`` caps the mean of the batch, so that one sample can make up for
            others; ``"none"`` is ``-sum g d / sum g``, which is unbounded for KL.

    Returns:
        A scalar. The bound of the paper, if any, is not known.
    """
    below = (gate if total is None else total).sum().clamp_min(1e-6)
    if bound == "none":
        return -(gate * divergence).sum() / below
    if bound == "cap":
        whole = gate.sum().clamp_min(1e-6)
        return relu(cap - (gate * divergence).sum() / whole) * gate.sum() / below
    return (gate * relu(cap - divergence)).sum() / below


def pull_together(divergence: Tensor, gate: Tensor, total: Tensor | None = None) -> Tensor:
    """Compute the opposite, consistency: ``sum g d / sum g``, arguments as in `pull_apart`."""
    below = gate if total is None else total
    return (gate * divergence).sum() / below.sum().clamp_min(1e-6)


def entropy_excess(values: Tensor, weight: Tensor, reference: float, margin: float) -> Tensor:
    """Compute how far the answers' entropy rises above a ceiling: ``sum w relu(h - ref - margin) / sum w``.

    The paper states an uncertainty-aware entropy constraint that keeps normal answers from being over-suppressed. Our
    reading is a ceiling at the value measured before the regulariser begins. It has no floor: a floor would keep the
    model as unsure as it was when it had learned little.

    Args:
        values: ``[B]``, mean entropy of each sample's answer tokens, nats.
        weight: ``[B]`` in ``[0, 1]``, the trust in each sample.
        reference: the entropy that normal answers had, nats.
        margin: allowed excess over the reference, nats.
    """
    return (weight * relu(values - reference - margin)).sum() / weight.sum().clamp_min(1e-6)


def entropy_outside(values: Tensor, weight: Tensor, reference: float, margin: float) -> Tensor:
    """Compute how far the answers' entropy leaves a band: ``sum w relu(|h - ref| - margin) / sum w``."""
    return (weight * relu((values - reference).abs() - margin)).sum() / weight.sum().clamp_min(1e-6)


def entropy_by_uncertainty(values: Tensor, weight: Tensor, reference: float, margin: float) -> Tensor:
    """Compute `entropy_excess` with each sample weighted by its uncertainty: ``w h / (h + ref)``, without gradient.

    This is another reading of "uncertainty-aware": only unsure answers are held below the ceiling.
    """
    unsure = values.detach() / (values.detach() + max(reference, 1e-6))
    return entropy_excess(values, weight * unsure, reference, margin)


ENTROPY = {"ceiling": entropy_excess, "band": entropy_outside, "weighted": entropy_by_uncertainty}
"""Entropy constraint by name: ``(values [B], weight [B], reference, margin) -> scalar``, nats."""


def feature_agreement(hidden: Tensor, other: Tensor) -> Tensor:
    """Compute the cosine similarity of two views' hidden states: ``[A, D]`` each -> ``[A]`` in ``[-1, 1]``."""
    return cosine_similarity(hidden.float(), other.float(), dim=-1)
