"""Checks of notebook 06: ranks, whole answers and entropies."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from tests.verdicts import is_named, is_not_done, passes

Answer = Callable[..., Any]


def rank(logits, token):
    return 1 + int((logits > logits[token]).sum())


def log_prob(logits, tokens):
    return logits.log_softmax(-1).gather(1, tokens[:, None]).sum()


def entropy(logits):
    return torch.special.entr(logits.softmax(-1)).sum(-1)


RIGHT: list[tuple[str, Answer]] = [
    ("rank_of", rank),
    ("rank_of", lambda x, t: (x >= x[t]).sum()),
    ("rank_of", lambda x, t: int((x.argsort(descending=True) == t).nonzero()) + 1),
    ("rank_of", lambda x, t: [rank(x, t)]),
    ("answer_log_prob", log_prob),
    ("answer_log_prob", lambda x, t: -torch.nn.functional.cross_entropy(x, t, reduction="sum")),
    ("answer_log_prob", lambda x, t: np.log(x.softmax(-1)[range(len(t)), t].prod().item())),
    ("answer_log_prob", lambda x, t: [float(log_prob(x, t))]),
    ("entropy_of", entropy),
    ("entropy_of", lambda x: -torch.xlogy(x.softmax(-1), x.softmax(-1)).sum(-1)),
    ("entropy_of", lambda x: torch.distributions.Categorical(logits=x.clamp_min(-1e30)).entropy().numpy()),
]
WRONG: list[tuple[str, Answer, str]] = [
    ("rank_of", lambda x, t: rank(x, t) - 1, "counts from 0"),
    ("rank_of", lambda x, t: int((x <= x[t]).sum()), "less likely"),
    ("rank_of", lambda x, t: x.argsort(descending=True)[t], "likely ones first"),
    ("rank_of", lambda x, t: x[t], "the logit itself"),
    ("answer_log_prob", lambda x, t: log_prob(x, t).exp(), "give its logarithm"),
    ("answer_log_prob", lambda x, t: -log_prob(x, t), "sign is wrong"),
    ("answer_log_prob", lambda x, t: log_prob(x, t) / len(t), "mean over the tokens"),
    ("answer_log_prob", lambda x, t: x.gather(1, t[:, None]).sum(), "normalise"),
    ("answer_log_prob", lambda x, t: x.log_softmax(0).gather(1, t[:, None]).sum(), "over the tokens of the answer"),
    ("answer_log_prob", lambda x, t: x.log_softmax(-1)[:, t].sum(), "all pairs"),
    ("answer_log_prob", lambda x, t: log_prob(x, t) / np.log(2), "base 2"),
    ("answer_log_prob", lambda x, t: x.log_softmax(-1)[0, t[0]], "first token"),
    ("entropy_of", lambda x: -entropy(x), "sign"),
    ("entropy_of", lambda x: entropy(x) / np.log(2), "base 2"),
    ("entropy_of", lambda x: entropy(x).mean(), "one number for each"),
    ("entropy_of", lambda x: torch.special.entr(x.softmax(0)).sum(-1), "over the words"),
    ("entropy_of", lambda x: -(x.softmax(-1) * x.log_softmax(-1)).sum(-1), "impossible word"),
]


@pytest.mark.parametrize(("name", "answer"), RIGHT)
def test_right_answers_pass(name: str, answer: Answer) -> None:
    passes(name, answer)


@pytest.mark.parametrize(("name", "answer", "word"), WRONG)
def test_a_mistake_is_named(name: str, answer: Answer, word: str) -> None:
    is_named(name, answer, word)


@pytest.mark.parametrize("name", ["rank_of", "answer_log_prob", "entropy_of"])
def test_a_stub_is_not_done(name: str) -> None:
    is_not_done(name)
