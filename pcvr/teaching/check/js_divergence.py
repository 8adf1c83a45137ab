"""Exercise: the Jensen-Shannon divergence between the answer distributions of two views, token by token."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from pcvr.teaching.compare import as_array, expect, same
from pcvr.teaching.core import Mistake, ask, exercise

_B, _T, _V = 2, 3, 5  # all different, so that a wrong axis changes the shape
_TOLERANCE = 1e-4
_CALL = "js_divergence(p, q)"

Known = dict[str, np.ndarray]


@exercise("Jensen-Shannon divergence per token")
def js_divergence(divergence: Callable[[Any, Any], Any]) -> str:
    """Check ``js_divergence(p, q)``: two log-probabilities ``[B, T, V]`` -> nats ``[B, T]``, range [0, ln 2]."""
    import torch

    rng = np.random.default_rng(5)
    p, q = (_log_softmax(2 * rng.normal(size=(_B, _T, _V))) for _ in range(2))
    first = torch.tensor(p, dtype=torch.float32, requires_grad=True)
    second = torch.tensor(q, dtype=torch.float32, requires_grad=True)
    value = ask(divergence, first, second, call=_CALL)
    got = as_array(value, _CALL)
    want = _reference(p, q)
    known = {**_wrong_formula(p, q), **_wrong_middle(p, q), **_wrong_axis(p, q)}
    if got.shape == want.shape and not any(same(got, array, _TOLERANCE) for array in (want, *known.values())):
        _symmetry(divergence, first, second, got)
    if got.size and np.isnan(got).all():
        raise Mistake(
            "NaN in every place: p and q are logarithms already, so a logarithm of them does not exist. torch's "
            "kl_div(m, p) takes the logarithm of p too, unless log_target=True says that p is one."
        )
    expect(got, want, _CALL, "[B, T]: one number per token", known, _TOLERANCE)
    if not getattr(value, "requires_grad", False):
        raise Mistake(
            "The values are correct but have no gradient: use torch throughout, without .detach(), .item() or numpy."
        )
    return "The divergence of a token is 0 nats if the views agree, and ln 2 = 0.693 if they have no word in common."


def _symmetry(divergence: Callable[[Any, Any], Any], p: Any, q: Any, got: np.ndarray) -> None:
    """Raise if exchanging the views changes a value that matches no known mistake."""
    swapped = as_array(ask(divergence, q, p, call="js_divergence(q, p)"), "js_divergence(q, p)")
    if not np.isnan(got).any() and not same(swapped, got, _TOLERANCE):
        raise Mistake(
            "It is not symmetric: exchanging p and q changes the value. Compare each view with the mean of both."
        )


def _log_softmax(logits: np.ndarray) -> np.ndarray:
    return logits - np.log(np.exp(logits).sum(axis=-1, keepdims=True))


def _terms(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return exp(a) (a - b), the terms that KL(a || b) sums over the vocabulary: [B, T, V]."""
    return np.exp(a) * (a - b)


def _whole(p: np.ndarray, q: np.ndarray, middle: np.ndarray | None = None) -> np.ndarray:
    """Return the terms of the Jensen-Shannon divergence: [B, T, V]."""
    m = np.logaddexp(p, q) - np.log(2) if middle is None else middle
    return (_terms(p, m) + _terms(q, m)) / 2


def _reference(p: np.ndarray, q: np.ndarray) -> np.ndarray:
    return _whole(p, q).sum(axis=-1)


def _wrong_formula(p: np.ndarray, q: np.ndarray) -> Known:
    right = _reference(p, q)
    middle = np.logaddexp(p, q) - np.log(2)
    forth, back = _terms(p, q).sum(-1), _terms(q, p).sum(-1)
    left, other = _terms(p, middle).sum(-1), _terms(q, middle).sum(-1)
    remedy = "Compare each view with m, the mean of both distributions, and take the mean of the two"
    return {
        f"This is KL(p || q), the Kullback-Leibler divergence, which is not symmetric. {remedy}.": forth,
        f"This is KL(q || p), the Kullback-Leibler divergence, which is not symmetric. {remedy}.": back,
        f"This is KL(p || q) + KL(q || p): symmetric, but unbounded. {remedy}.": forth + back,
        f"This is the mean of KL(p || q) and KL(q || p): symmetric, but unbounded. {remedy}.": (forth + back) / 2,
        "This is twice the divergence: the 1/2 in front of the two terms is missing.": 2 * right,
        "This is half the divergence: use 1/2 once, in front of the two terms.": right / 2,
        f"This is KL(p || m) alone, which is not symmetric. {remedy} terms.": left,
        f"This is KL(q || m) alone, which is not symmetric. {remedy} terms.": other,
        "This is KL(p || m) / 2: the other half, KL(q || m) / 2, is missing.": left / 2,
        "This is KL(q || m) / 2: the other half, KL(p || m) / 2, is missing.": other / 2,
        "This is in bits (base 2): take natural logarithms, and do not divide by ln 2.": right / np.log(2),
        "This is the Jensen-Shannon distance, the square root of the divergence: leave out the root.": np.sqrt(right),
        "The sign is wrong: the divergence is never below 0.": -right,
    }


def _wrong_middle(p: np.ndarray, q: np.ndarray) -> Known:
    m = np.logaddexp(p, q) - np.log(2)
    logs = "p and q are logarithms of probabilities"
    reverse = "The two divergences go the wrong way, from m to the views: use the terms exp(p) * (p - m)"
    return {
        f"{reverse}. (torch's kl_div(a, b) is KL(b || a).)": ((_terms(m, p) + _terms(m, q)) / 2).sum(-1),
        f"{logs}: m is the logarithm of the mean probability, not the mean of the logarithms.": (
            _whole(p, q, (p + q) / 2).sum(-1)
        ),
        "m is p + q here, without the factor 1/2: subtract ln 2 from its logarithm.": (
            _whole(p, q, np.logaddexp(p, q)).sum(-1)
        ),
        f"{logs}: weight the differences by exp(p), not by p.": ((p * (p - m) + q * (q - m)) / 2).sum(-1),
        "The differences are not weighted: multiply p - m by the probabilities, exp(p).": ((p + q) / 2 - m).sum(-1),
    }


def _wrong_axis(p: np.ndarray, q: np.ndarray) -> Known:
    terms, right = _whole(p, q), _reference(p, q)
    axis = "The vocabulary is the last axis: sum over dim=-1."
    apart = "keep samples and tokens apart, [B, T]."
    return {
        f"This is the mean over the vocabulary, {_V} times too small. {axis}": terms.mean(-1),
        f"This sums over the tokens, not over the vocabulary. {axis}": terms.sum(1),
        f"This averages over the tokens, not over the vocabulary. {axis}": terms.mean(1),
        f"This sums over the samples, not over the vocabulary. {axis}": terms.sum(0),
        f"This averages over the samples, not over the vocabulary. {axis}": terms.mean(0),
        f"This is the mean over the tokens, one number for each sample: {apart}": right.mean(1),
        f"This is the sum over the tokens, one number for each sample: {apart}": right.sum(1),
        f"This is one number for the whole batch, a mean: {apart}": right.mean(),
        f"This is one number for the whole batch, a sum: {apart}": right.sum(),
        f"This is one number, the sum divided by the samples (kl_div's batchmean): {apart}": right.sum() / _B,
        f"This still has the vocabulary in it, one number for each word. {axis}": terms,
    }
