"""Exercise: how sure the model is at each token."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from pcvr.teaching.compare import as_array, expect
from pcvr.teaching.core import Mistake, ask, exercise

if TYPE_CHECKING:
    import torch

_CALL = "entropy_of(logits)"


@exercise("the entropy of each word's distribution")
def entropy_of(function: Callable[[Any], Any]) -> str:
    """Check ``entropy_of(logits)``: float ``[T, V]`` -> nats ``[T]``, also where a word is impossible (``-inf``)."""
    import torch

    for seed, (length, words) in enumerate(((4, 7), (6, 6))):
        logits = 2 * torch.randn(length, words, generator=torch.Generator().manual_seed(seed))
        got = as_array(ask(function, logits.clone(), call=_CALL), _CALL)
        expect(got, _right(logits).numpy(), _CALL, "[T]", _mistakes(logits), 1e-4)
    logits[2, 1] = -torch.inf
    got = as_array(ask(function, logits.clone(), call=_CALL), _CALL)
    if np.isnan(got).any():
        raise Mistake(
            "With an impossible word (logit -inf) this is NaN, since 0 times -inf is. Its share is 0: use "
            "torch.xlogy(p, p) or torch.special.entr(p), or set the product to 0 there."
        )
    expect(got, _right(logits).numpy(), f"{_CALL} with an impossible word", "[T]", tolerance=1e-4)
    return "0 means certain. A learned target has nearly 0 at every word; an honest sentence never has."


def _right(logits: torch.Tensor) -> torch.Tensor:
    import torch

    return torch.special.entr(logits.softmax(-1)).sum(-1)


def _mistakes(logits: torch.Tensor) -> dict[str, np.ndarray]:
    import torch

    right, p = _right(logits), logits.softmax(-1)
    wrong = {
        "The sign is wrong: an entropy is 0 or more, the sum of -p ln p.": -right,
        "The logarithm is to base 2: nats take the natural one.": right / np.log(2),
        "This is the mean over the words: take the sum.": right / logits.shape[1],
        "softmax runs over the tokens: it has to run over the words, the last axis.": (
            torch.special.entr(logits.softmax(0)).sum(-1)
        ),
        "The sum runs over the tokens: it has to run over the words, the last axis.": torch.special.entr(p).sum(0),
        "This is the sum over all tokens: give one number for each.": right.sum(),
        "This is the mean over the tokens: give one number for each.": right.mean(),
        "p is missing in front of the logarithm: each word counts with its probability.": -p.log().sum(-1),
        "These are 1 minus the largest probability: entropy uses all words.": 1 - p.amax(-1),
        "This is minus the logarithm of the largest probability: entropy uses all words.": -p.amax(-1).log(),
    }
    return {message: value.numpy() for message, value in wrong.items()}
