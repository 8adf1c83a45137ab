"""The checks of notebooks 05 and 05b: right answers in several forms pass, and every mistake they know is named."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn.functional import kl_div, relu

from pcvr.evaluation.intervals import errors_apart
from pcvr.teaching import check

Answer = Callable[..., Any]


def summed(d: Any, o: Any, size: int) -> Any:
    return torch.zeros(size).index_add(0, o, d)


def score(d: Any, o: Any, p: Any) -> Any:
    return summed(d, o, len(p)) + p


def counts(o: Any, size: int) -> Any:
    return torch.bincount(o, minlength=size)


def trusted(x: Any, o: Any, g: Any) -> Any:
    w = (1 - g)[o]
    return (w * x).sum() / w.sum().clamp(min=1e-6)


def ceiling(h: Any, g: Any, ref: float, margin: float) -> Any:
    return ((1 - g) * relu(h - ref - margin)).sum() / (1 - g).sum().clamp(min=1e-6)


def weighted(values: Any, w: Any) -> Any:
    return (w * values).sum() / w.sum()


def z(h: int, n: int, k: int, m: int, pooled: Answer = lambda h, n, k, m: (h + k) / (n + m)) -> float:
    r = pooled(h, n, k, m)
    return float(0.0 if r == 0 else (h / n - k / m) / np.sqrt(r * (1 - r) * (1 / n + 1 / m)))


RIGHT: list[tuple[str, Answer]] = [
    ("suspicion_score", score),
    ("suspicion_score", lambda d, o, p: torch.stack([d[o == i].sum() for i in range(len(p))]) + p),
    ("suspicion_score", lambda d, o, p: np.bincount(o.numpy(), d.numpy()) + p.numpy()),
    ("trusted_loss", trusted),
    ("trusted_loss", lambda x, o, g: (x * (1 - g[o])).sum() / max((1 - g[o]).sum(), 1e-6)),
    # A number in brackets is a number.
    ("trusted_loss", lambda x, o, g: trusted(x, o, g)[None]),
    ("capped_pull_apart", lambda d, g, c: ((g * relu(c - d)).sum() / g.sum().clamp_min(1e-6))[None]),
    ("entropy_ceiling", ceiling),
    ("entropy_ceiling", lambda h, g, r, m: ((1 - g) * (h - r - m).clamp(min=0)).sum() / max((1 - g).sum(), 1e-6)),
    ("errors_apart", z),
    ("errors_apart", errors_apart),
    ("errors_apart", lambda *case: np.array([z(*case)])[0]),
]

WRONG: list[tuple[str, Answer, str]] = [
    ("suspicion_score", lambda d, o, p: summed(d, o, len(p)) / counts(o, len(p)) + p, "mean over the tokens: take"),
    ("suspicion_score", lambda d, o, p: summed(d, o, len(p)) / counts(o, len(p)), "without the likelihood"),
    ("suspicion_score", lambda d, o, p: summed(d, o, len(p)), "likelihood is missing"),
    ("suspicion_score", lambda d, o, p: summed(d, o, len(p)) - p, "wrong sign"),
    ("suspicion_score", lambda d, o, p: summed(d, o, len(p)) + 1 - p, "without 1 - p"),
    ("suspicion_score", lambda d, o, p: summed(d, o, len(p)) * p, "multiplied"),
    ("suspicion_score", lambda d, o, p: summed(d + p[o], o, len(p)), "once for each token"),
    ("suspicion_score", lambda d, o, p: summed(d, o, len(p)) + p.log(), "logarithm"),
    ("suspicion_score", lambda d, o, p: -score(d, o, p), "low score must mean"),
    ("suspicion_score", lambda d, o, p: d + p[o], "for each token: add up"),
    ("suspicion_score", lambda d, o, p: score(d, o, p).sum(), "whole batch"),
    ("suspicion_score", lambda d, o, p: score(d, o, p)[:, None], "axis of length 1"),
    ("trusted_loss", lambda x, o, g: x.mean(), "suspicion is ignored"),
    ("trusted_loss", lambda x, o, g: weighted(x, g[o]), "inverted"),
    ("trusted_loss", lambda x, o, g: ((1 - g)[o] * x).mean(), "number of tokens"),
    ("trusted_loss", lambda x, o, g: ((1 - g)[o] * x).sum() / len(g), "number of samples"),
    ("trusted_loss", lambda x, o, g: ((1 - g)[o] * x).sum() / (1 - g).sum(), "over the samples"),
    ("trusted_loss", lambda x, o, g: weighted(summed(x, o, len(g)) / counts(o, len(g)), 1 - g), "samples' means"),
    ("trusted_loss", lambda x, o, g: ((1 - g)[o] * x).sum(), "This is the sum"),
    ("trusted_loss", lambda x, o, g: (1 - g)[o] * x, "for each token"),
    ("trusted_loss", lambda x, o, g: -trusted(x, o, g), "sign is wrong"),
    ("trusted_loss", lambda x, o, g: trusted(x, o, g).detach(), "no gradient"),
    ("trusted_loss", lambda x, o, g: weighted(x, (1 - g)[o]), "every sample is suspicious"),
    ("entropy_ceiling", lambda h, g, r, m: weighted(relu((h - r).abs() - m), 1 - g), "This is a band"),
    ("entropy_ceiling", lambda h, g, r, m: weighted((h - r - m).abs(), 1 - g), "absolute value"),
    ("entropy_ceiling", lambda h, g, r, m: weighted(relu(h - r), 1 - g), "margin is missing"),
    ("entropy_ceiling", lambda h, g, r, m: weighted(relu(h - r + m), 1 - g), "wrong side"),
    ("entropy_ceiling", lambda h, g, r, m: weighted(relu(r + m - h), 1 - g), "This is a floor"),
    ("entropy_ceiling", lambda h, g, r, m: weighted(h - r - m, 1 - g), "There is no relu"),
    ("entropy_ceiling", lambda h, g, r, m: relu(h - r - m).mean(), "suspicion is ignored"),
    ("entropy_ceiling", lambda h, g, r, m: weighted(relu(h - r - m), g), "inverted"),
    ("entropy_ceiling", lambda h, g, r, m: ((1 - g) * relu(h - r - m)).mean(), "number of samples"),
    ("entropy_ceiling", lambda h, g, r, m: ((1 - g) * relu(h - r - m)).sum(), "This is the sum"),
    ("entropy_ceiling", lambda h, g, r, m: (1 - g) * relu(h - r - m), "for each sample"),
    ("entropy_ceiling", lambda h, g, r, m: ceiling(h, g, r, m).item(), "no gradient"),
    ("entropy_ceiling", lambda h, g, r, m: weighted(relu(h - r - m), 1 - g), "every sample is suspicious"),
    ("errors_apart", lambda h, n, k, m: -z(h, n, k, m), "sign is wrong"),
    ("errors_apart", lambda h, n, k, m: h / n - k / m, "divide it by its standard error"),
    ("errors_apart", lambda h, n, k, m: (h - k) * z(h, n, k, m) / (h / n - k / m), "These are the hits"),
    ("errors_apart", lambda h, n, k, m: z(h, n, k, m) / ((h / n - k / m) / z(h, n, k, m)), "square root is missing"),
    ("errors_apart", lambda h, n, k, m: (h / n - k / m) / z(h, n, k, m), "standard error alone"),
    ("errors_apart", lambda h, n, k, m: abs(z(h, n, k, m)), "no absolute value"),
    (
        "errors_apart",
        lambda h, n, k, m: (h / n - k / m) / np.sqrt(h / n * (1 - h / n) / n + k / m * (1 - k / m) / m),
        "not pooled",
    ),
    ("errors_apart", lambda h, n, k, m: z(h, n, k, m) * np.sqrt(1 + n / m), "only one of the numbers"),
    ("errors_apart", lambda h, n, k, m: z(h, n, k, m, lambda h, n, k, m: (h / n + k / m) / 2), "mean of the rates"),
    (
        "errors_apart",
        lambda h, n, k, m: (h / n - k / m) / ((h + k) * (n + m - h - k) * (1 / n + 1 / m)) ** 0.5 * (n + m),
        "return 0",
    ),
    # Holes that readers found in the exercises of before:
    ("capped_pull_apart", lambda d, g, c: relu(c - d.mean()), "cap is on the mean"),
    ("capped_pull_apart", lambda d, g, c: relu(c - (g * d).sum() / g.sum()), "cap is on the mean"),
    (
        "js_divergence",
        lambda p, q: sum(
            kl_div(torch.logaddexp(p, q) - np.log(2), each, reduction="none").sum(-1) / 2 for each in (p, q)
        ),
        "log_target",
    ),
    (
        "js_divergence",
        lambda p, q: (
            (p.exp() * (p - torch.logaddexp(p, q) + np.log(2)) + q.exp() * (q - torch.logaddexp(p, q) + np.log(2)))
            .sum(-1, keepdim=True)
            .div(2)
        ),
        "axis of length 1",
    ),
    (
        "choose_setting",
        lambda a, u, least: None if u.max() < least else int(np.flatnonzero(u >= least)[0]),
        "return -1",
    ),
    ("frontier", lambda a, u: [], "is there an append"),
]


@pytest.mark.parametrize(("name", "answer"), RIGHT)
def test_right_answers_pass_in_any_form(name: str, answer: Answer) -> None:
    found = getattr(check, name)(answer)
    assert found, found


@pytest.mark.parametrize(("name", "answer", "word"), WRONG)
def test_the_mistake_is_named(name: str, answer: Answer, word: str) -> None:
    found = getattr(check, name)(answer)
    assert found.status == "mistake"
    assert word in found.message, found.message


@pytest.mark.parametrize("name", ["suspicion_score", "trusted_loss", "entropy_ceiling", "errors_apart"])
@pytest.mark.parametrize("stub", [None, ..., lambda *_: None, lambda *_: ...])
def test_an_empty_stub_is_not_done(name: str, stub: object) -> None:
    assert getattr(check, name)(stub).status == "not done"


def test_a_choice_that_returns_nothing_at_all_is_not_done() -> None:
    assert check.choose_setting(lambda *_: None).status == "not done"
