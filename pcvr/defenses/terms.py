"""The terms of the regulariser, each a short pure function on packed distributions.

Shapes: ``A`` answer tokens of a batch, ``V`` words, ``B`` samples. Everything is in nats.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity, log_softmax, relu

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


def entropy(logits: Tensor) -> Tensor:
    """Shannon entropy of each distribution: ``[A, V]`` -> ``[A]`` in ``[0, ln V]`` nats."""
    p = log_softmax(logits, -1)
    return -(p.exp() * p).sum(-1)


def pull_apart(divergence: Tensor, gate: Tensor, cap: float, share_of: Tensor | None = None) -> Tensor:
    """How much the views of suspicious samples still agree: ``sum g relu(cap - d) / sum g``.

    Args:
        divergence: ``[B]``, cross-view divergence of each sample, nats.
        gate: ``[B]`` in ``[0, 1]``, the suspicion; 0 leaves a sample alone.
        cap: divergence in nats at which a sample is far enough apart; above it there is no gradient.
        share_of: ``[B]``, what is summed below the line instead of `gate`: with a gate that fades as an answer is
            unlearned, the whole term then fades (ours).

    Returns:
        A scalar. Without the cap the term is unbounded for KL and never done for any divergence (ours).
    """
    below = gate if share_of is None else share_of
    return (gate * relu(cap - divergence)).sum() / below.sum().clamp_min(1e-6)


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


def feature_agreement(hidden: Tensor, other: Tensor) -> Tensor:
    """Cosine similarity of two views' hidden states, ``[A, D]`` each -> ``[A]`` in ``[-1, 1]``."""
    return cosine_similarity(hidden.float(), other.float(), dim=-1)
