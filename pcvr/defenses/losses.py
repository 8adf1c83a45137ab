"""The terms of the regulariser, each a short pure function on packed distributions.

Shapes: ``A`` answer tokens of a batch, ``V`` words, ``B`` samples. Everything is in nats.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity, cross_entropy, log_softmax, relu

LN2 = math.log(2)
"""The largest Jensen-Shannon divergence there is, in nats."""


def js_divergence(logits: Tensor, other: Tensor) -> Tensor:
    """Jensen-Shannon divergence token by token: ``(KL(p || m) + KL(q || m)) / 2`` with ``m = (p + q) / 2``.

    Args:
        logits: ``[A, V]``, unnormalised.
        other: ``[A, V]``, unnormalised.

    Returns:
        ``[A]`` in ``[0, ln 2]`` nats. The paper says "output difference"; the choice of divergence is ours:
        it is bounded, so that pulling apart has an end.
    """
    p, q = log_softmax(logits, -1), log_softmax(other, -1)
    m = torch.logaddexp(p, q) - LN2
    return ((p.exp() * (p - m)).sum(-1) + (q.exp() * (q - m)).sum(-1)).clamp_min(0) / 2


def kl_divergence(logits: Tensor, other: Tensor) -> Tensor:
    """Kullback-Leibler divergence ``KL(p || q)`` row by row: ``[A, V]`` twice -> ``[A]`` from 0 up, nats, unbounded."""
    p, q = log_softmax(logits, -1), log_softmax(other, -1)
    return (p.exp() * (p - q)).sum(-1).clamp_min(0)


def reverse_kl_divergence(logits: Tensor, other: Tensor) -> Tensor:
    """``KL(q || p)``: as `kl_divergence`, the other way round."""
    return kl_divergence(other, logits)


def total_variation(logits: Tensor, other: Tensor) -> Tensor:
    """Total variation ``sum |p - q| / 2`` of each row: ``[A, V]`` twice -> ``[A]`` in ``[0, 1]``, without a unit."""
    return (logits.softmax(-1) - other.softmax(-1)).abs().sum(-1) / 2


DIVERGENCES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "js": js_divergence,
    "kl": kl_divergence,
    "reverse_kl": reverse_kl_divergence,
    "tv": total_variation,
}
"""Divergence by name: ``(logits [A, V], other [A, V]) -> [A]``. Where one side is a view, it is the second."""

MOST = {"js": LN2, "kl": 20.0, "reverse_kl": 20.0, "tv": 1.0}
"""The largest cap that means something: the bound of a divergence, or what the precision of a float leaves of it."""


def told_word(logits: Tensor, targets: Tensor) -> Tensor:
    """The word that the data says against all others: ``[A, V]`` and ``[A]`` -> logits ``[A, 2]``.

    Any divergence of these says how much the *told* answer depends on the picture. That of the whole distributions
    cannot say it for a one-word answer: there the model has not yet been told the word, so they are the same whatever
    the data claim (ours).
    """
    told = log_softmax(logits, -1).gather(1, targets[:, None])[:, 0]
    rest = torch.log1p(-told.exp().clamp(max=1 - 1e-6))
    return torch.stack([told, rest], -1)


def weighted_cross_entropy(logits: Tensor, targets: Tensor, weight: Tensor) -> Tensor:
    """Weighted mean of the answer tokens' cross-entropy: ``[A, V]``, ``[A]`` and weights ``[A]`` -> a scalar, nats."""
    losses = cross_entropy(logits, targets, reduction="none")
    return (weight * losses).sum() / weight.sum().clamp_min(1e-6)


def entropy(logits: Tensor) -> Tensor:
    """Shannon entropy of each distribution: ``[A, V]`` -> ``[A]`` in ``[0, ln V]`` nats."""
    p = log_softmax(logits, -1)
    return -(p.exp() * p).sum(-1)


def pull_apart(
    divergence: Tensor, gate: Tensor, cap: float, share_of: Tensor | None = None, bound: str = "hinge"
) -> Tensor:
    """How much the views of suspicious samples still agree: ``sum g relu(cap - d) / sum g``.

    Args:
        divergence: ``[B]``, cross-view divergence of each sample, nats.
        gate: ``[B]`` in ``[0, 1]``, the suspicion; 0 leaves a sample alone.
        cap: divergence at which a sample is far enough apart; above it there is no gradient.
        share_of: ``[B]``, what is summed below the line instead of `gate`: with a gate that fades as an answer is
            unlearned, the whole term then fades (ours).
        bound: ``"hinge"`` caps each sample; ``"cap"`` caps the mean of the batch, so that one sample far apart makes
            up for others; ``"none"`` is ``-sum g d / sum g``, which for KL has no end.

    Returns:
        A scalar. Which bound the paper has, if any, is not known.
    """
    below = (gate if share_of is None else share_of).sum().clamp_min(1e-6)
    if bound == "none":
        return -(gate * divergence).sum() / below
    if bound == "cap":
        whole = gate.sum().clamp_min(1e-6)
        return relu(cap - (gate * divergence).sum() / whole) * gate.sum() / below
    return (gate * relu(cap - divergence)).sum() / below


def pull_together(divergence: Tensor, gate: Tensor, share_of: Tensor | None = None) -> Tensor:
    """The opposite direction, consistency: ``sum g d / sum g``, arguments as in `pull_apart`."""
    below = gate if share_of is None else share_of
    return (gate * divergence).sum() / below.sum().clamp_min(1e-6)


def entropy_excess(values: Tensor, weight: Tensor, reference: float, margin: float) -> Tensor:
    """How far the answers' entropy rises above a ceiling: ``sum w relu(h - ref - margin) / sum w``.

    The paper states an uncertainty-aware entropy constraint that keeps normal answers from being over-suppressed; a
    ceiling at the value measured before the regulariser sets in is our reading of it. It has no floor: that would
    hold the model where it was when it had learned little.

    Args:
        values: ``[B]``, mean entropy of each sample's answer tokens, nats.
        weight: ``[B]`` in ``[0, 1]``, how surely the sample is normal.
        reference: the entropy that normal answers had, nats.
        margin: how far above the reference is still well, nats.
    """
    return (weight * relu(values - reference - margin)).sum() / weight.sum().clamp_min(1e-6)


def entropy_outside(values: Tensor, weight: Tensor, reference: float, margin: float) -> Tensor:
    """How far the answers' entropy leaves a band: ``sum w relu(|h - ref| - margin) / sum w``, as `entropy_excess`."""
    return (weight * relu((values - reference).abs() - margin)).sum() / weight.sum().clamp_min(1e-6)


def entropy_by_uncertainty(values: Tensor, weight: Tensor, reference: float, margin: float) -> Tensor:
    """`entropy_excess` with each sample weighted by how uncertain it is: ``w h / (h + ref)``, `h` held fixed there.

    Another reading of "uncertainty-aware": sure answers are left alone, unsure ones are held below the ceiling.
    """
    unsure = values.detach() / (values.detach() + max(reference, 1e-6))
    return entropy_excess(values, weight * unsure, reference, margin)


ENTROPY = {"ceiling": entropy_excess, "band": entropy_outside, "weighted": entropy_by_uncertainty}
"""Entropy constraint by name: ``(values [B], weight [B], reference, margin) -> scalar``, nats."""


def feature_agreement(hidden: Tensor, other: Tensor) -> Tensor:
    """Cosine similarity of two views' hidden states, ``[A, D]`` each -> ``[A]`` in ``[-1, 1]``."""
    return cosine_similarity(hidden.float(), other.float(), dim=-1)
