"""Exercise: the Jensen-Shannon divergence of the label token against all other words."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from pcvr.teaching.compare import as_array, expect
from pcvr.teaching.core import ask, exercise

_A, _V = 4, 6  # different, so that a wrong axis changes the shape
_TOLERANCE = 1e-4
_CALL = "label_divergence(p, q, label)"

Known = dict[str, np.ndarray]


@exercise("divergence of the label token against all others")
def label_divergence(function: Callable[[Any, Any, Any], Any]) -> str:
    """Check ``label_divergence(p, q, label)``: two probabilities ``[A, V]``, label tokens ``[A]`` -> nats ``[A]``."""
    import torch

    rng = np.random.default_rng(6)
    p, q = (_softmax(2 * rng.normal(size=(_A, _V))) for _ in range(2))
    # Never the most likely word, so that the label differs from the model's own choice.
    label = np.array([np.argsort(row)[-2 - k % 3] for k, row in enumerate(p)])
    first, second = (torch.tensor(each, dtype=torch.float64) for each in (p, q))
    got = as_array(ask(function, first, second, torch.tensor(label), call=_CALL), _CALL)
    expect(got, _binary(p, q, label), _CALL, "[A]: one number per token", _mistakes(p, q, label), _TOLERANCE)
    return "The value depends on the label token, and not on how the rest is divided among the other words."


def _softmax(logits: np.ndarray) -> np.ndarray:
    exp = np.exp(logits)
    return exp / exp.sum(-1, keepdims=True)


def _js(p: np.ndarray, q: np.ndarray) -> np.ndarray:
    """Return the terms of the Jensen-Shannon divergence, in the shape of `p`."""
    m = (p + q) / 2
    return (p * np.log(p / m) + q * np.log(q / m)) / 2


def _pair(p: np.ndarray, at: np.ndarray) -> np.ndarray:
    one = np.take_along_axis(p, at[:, None], 1)
    return np.concatenate([one, 1 - one], 1)


def _binary(p: np.ndarray, q: np.ndarray, at: np.ndarray) -> np.ndarray:
    return _js(_pair(p, at), _pair(q, at)).sum(-1)


def _mistakes(p: np.ndarray, q: np.ndarray, label: np.ndarray) -> Known:
    right = _binary(p, q, label)
    one, other = _pair(p, label), _pair(q, label)
    own, theirs = p.argmax(-1), q.argmax(-1)
    mine = "the label token, p[a, label[a]]"
    forth, back = (one * np.log(one / other)).sum(-1), (other * np.log(other / one)).sum(-1)
    middle = (one + other) / 2
    left, right_half = (one * np.log(one / middle)).sum(-1), (other * np.log(other / middle)).sum(-1)
    remedy = "compare each view with the mean of both, and take the mean of the two"
    return {
        "This is the divergence of the whole distributions, which does not depend on the label: first reduce each row "
        "to two numbers, the probability of the label token and the rest.": _js(p, q).sum(-1),
        "This is only the term of the label token: the second outcome is all other words together, 1 - p.": (
            _js(one, other)[:, 0]
        ),
        "This is only the term of the rest: the first outcome is the label token.": _js(one, other)[:, 1],
        f"This takes the most likely word of the first view, not {mine}.": _binary(p, q, own),
        f"This takes the most likely word of each view: take {mine}, in both views.": (
            _js(_pair(p, own), _pair(q, theirs)).sum(-1)
        ),
        "This is the difference of the two probabilities: take the Jensen-Shannon divergence of the two pairs.": (
            np.abs(one - other)[:, 0]
        ),
        "This is twice the divergence: the 1/2 in front of the two terms is missing.": 2 * right,
        "This is half the divergence: use 1/2 only once, and sum the two outcomes instead of averaging them.": right
        / 2,
        "This is in bits (base 2): take natural logarithms.": right / np.log(2),
        f"This is KL(p || q), which is not symmetric: {remedy}.": forth,
        f"This is KL(q || p), which is not symmetric: {remedy}.": back,
        f"This is KL(p || m) alone: {remedy}.": left,
        f"This is KL(q || m) alone: {remedy}.": right_half,
        "This is one number for all tokens, a mean: keep the tokens apart, [A].": np.array(right.mean()),
        "This is one number for all tokens, a sum: keep the tokens apart, [A].": np.array(right.sum()),
        "The two outcomes are still apart: sum over the last axis.": _js(one, other),
        "The sign is wrong: the divergence is never below 0.": -right,
    }
