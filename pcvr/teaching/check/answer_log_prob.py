"""Exercise: the log-probability of a whole answer under teacher forcing."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from pcvr.teaching.compare import as_array, expect
from pcvr.teaching.core import ask, exercise

if TYPE_CHECKING:
    import torch

_CALL = "answer_log_prob(logits, tokens)"


@exercise("the log-probability of a whole answer")
def answer_log_prob(function: Callable[[Any, Any], Any]) -> str:
    """Check ``answer_log_prob(logits, tokens)``: float ``[T, V]`` and int ``[T]`` -> nats, 0 or below."""
    import torch

    for seed, (length, words) in enumerate(((4, 7), (6, 6), (1, 5))):
        generator = torch.Generator().manual_seed(seed)
        logits = 2 * torch.randn(length, words, generator=generator) + 1
        tokens = torch.randint(words, (length,), generator=generator)
        got = as_array(ask(function, logits.clone(), tokens.clone(), call=_CALL), _CALL)
        expect(got, np.array(_right(logits, tokens)), _CALL, "a single number", _mistakes(logits, tokens), 1e-4)
    return "Its exponential is the probability of the whole target: what the histograms of notebook 06b show."


def _right(logits: torch.Tensor, tokens: torch.Tensor) -> float:
    return float(_each(logits, tokens).sum())


def _each(logits: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
    return logits.log_softmax(-1).gather(1, tokens[:, None])[:, 0]


def _mistakes(logits: torch.Tensor, tokens: torch.Tensor) -> dict[str, np.ndarray]:
    right, each = _right(logits, tokens), _each(logits, tokens)
    raw, log = logits.gather(1, tokens[:, None])[:, 0], logits.log_softmax(-1)
    wrong = {
        "This is the probability: give its logarithm.": each.exp().prod(),
        "The probabilities are added: add their logarithms.": each.exp().sum(),
        "The sign is wrong: a log-probability is 0 or below.": -right,
        "This is the mean over the tokens: a whole answer has the sum.": each.mean(),
        "The logits are added as they are: normalise each row with log_softmax first.": raw.sum(),
        "log_softmax runs over the tokens of the answer: it has to run over the words, the last axis.": (
            logits.log_softmax(0).gather(1, tokens[:, None]).sum()
        ),
        "The logarithm is to base 2: nats take the natural one.": right / np.log(2),
        "This is the most likely word of each row: take the word of the answer.": log.amax(-1).sum(),
        "This sums over all pairs of row and token: take one word of each row.": log[:, tokens].sum(),
        "Only the first token counts here: the answer has more.": each[0],
        "Only the last token counts here: the answer has more.": each[-1],
    }
    found = {message: np.array(float(value)) for message, value in wrong.items()}
    return {message: value for message, value in found.items() if not np.isclose(value, right, atol=1e-4)}
