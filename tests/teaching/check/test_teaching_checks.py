"""Each check gets right answers, and typical mistakes whose message has to name them."""

import numpy as np
import pytest
import torch
from torch.nn.functional import kl_div, relu

from pcvr.teaching import check

LN2 = float(np.log(2))


def rng(seed):
    return np.random.default_rng(seed)


def right_choice(n, rate, seed):
    return np.sort(rng(seed).choice(n, size=round(rate * n), replace=False))


def test_poison_indices_passes_on_right_answers():
    assert check.poison_indices(right_choice)
    assert check.poison_indices(lambda n, rate, seed: right_choice(n, rate, seed).tolist())
    assert check.poison_indices(lambda n, rate, seed: torch.tensor(right_choice(n, rate, seed)))
    assert check.poison_indices(lambda n, rate, seed: np.sort(rng(seed).permutation(n)[: round(rate * n)]))


_counter = iter(range(10**9))


@pytest.mark.parametrize(
    ("mistake", "word"),
    [
        (lambda n, r, s: np.sort(rng(s).choice(n, int(r * n), replace=False)), "int() cuts off"),
        (lambda n, r, s: np.sort(rng(s).choice(n, int(np.ceil(r * n)), replace=False)), "rounded up"),
        (lambda n, r, s: np.flatnonzero(rng(s).random(n) < r), "toss a coin"),
        (lambda n, r, s: np.arange(n), "every sample"),
        (lambda n, r, s: np.setdiff1d(np.arange(n), right_choice(n, r, s)), "stay clean"),
        (lambda n, r, s: np.sort(rng(s).choice(n, round(r * n))), "without repetition"),
        (lambda n, r, s: np.unique(rng(s).choice(n, round(r * n))), "without repetition"),
        (lambda n, r, s: 1 + right_choice(n, r, s), "numbered 0 to"),
        (lambda n, r, s: rng(s).choice(n, round(r * n), replace=False), "not sorted"),
        (lambda n, r, s: right_choice(n, r, next(_counter)), "called again"),
        (lambda n, r, s: right_choice(n, r, 0), "every seed"),
        (lambda n, r, s: np.arange(round(r * n)), "takes the first"),
        (lambda n, r, s: np.isin(np.arange(n), right_choice(n, r, s)), "flatnonzero"),
        (lambda n, r, s: rng(s).random(n), "between 0 and 1"),
        (lambda n, r, s: right_choice(n, r, s).astype(float), "float64"),
        (lambda n, r, s: right_choice(n, r, s)[:, None], "shape"),
        (lambda n, r, s: "all", "an array of indices is expected"),
        (lambda n, r, s: round(r * n), "shape []"),
        (lambda n, r: np.arange(3), "arguments"),
    ],
)
def test_poison_indices_names_the_mistake(mistake, word):
    found = check.poison_indices(mistake)
    assert not found and found.status == "mistake"
    assert word in found.message


def js(p, q):
    m = torch.logaddexp(p, q) - LN2
    return 0.5 * ((p.exp() * (p - m)).sum(-1) + (q.exp() * (q - m)).sum(-1))


def kl(p, q):
    return (p.exp() * (p - q)).sum(-1)


def middle(p, q):
    return ((p.exp() + q.exp()) / 2).log()


def test_js_divergence_passes_on_right_answers():
    assert check.js_divergence(js)

    def by_kl_div(p, q):
        m = middle(p, q)
        terms = kl_div(m, p, log_target=True, reduction="none") + kl_div(m, q, log_target=True, reduction="none")
        return terms.sum(-1) / 2

    assert check.js_divergence(by_kl_div)


@pytest.mark.parametrize(
    ("mistake", "word"),
    [
        (kl, "KL(p || q)"),
        (lambda p, q: kl(q, p), "KL(q || p)"),
        (lambda p, q: kl(p, q) + kl(q, p), "KL(p || q) + KL(q || p)"),
        (lambda p, q: (kl(p, q) + kl(q, p)) / 2, "mean of KL(p || q) and KL(q || p)"),
        (lambda p, q: 2 * js(p, q), "1/2"),
        (lambda p, q: js(p, q) / 2, "1/2 once"),
        (lambda p, q: kl(p, middle(p, q)), "not symmetric"),
        (lambda p, q: 0.5 * kl(p, middle(p, q)), "other half"),
        (lambda p, q: js(p, q) / LN2, "base 2"),
        (lambda p, q: js(p, q).sqrt(), "square root"),
        (lambda p, q: -js(p, q), "sign"),
        (lambda p, q: 0.5 * (kl(middle(p, q), p) + kl(middle(p, q), q)), "wrong way"),
        (lambda p, q: 0.5 * (kl(p, (p + q) / 2) + kl(q, (p + q) / 2)), "mean of the logarithms"),
        (lambda p, q: 0.5 * (kl(p, torch.logaddexp(p, q)) + kl(q, torch.logaddexp(p, q))), "ln 2"),
        (lambda p, q: js(p, q).mean(1), "mean over the tokens"),
        (lambda p, q: js(p, q).mean(), "whole batch"),
        (lambda p, q: (p.exp() * (p - middle(p, q)) + q.exp() * (q - middle(p, q))) / 2, "still has the vocabulary"),
        (
            lambda p, q: ((p.exp() * (p - middle(p, q)) + q.exp() * (q - middle(p, q))) / 2).mean(-1),
            "mean over the voc",
        ),
        (lambda p, q: ((p.exp() * (p - middle(p, q)) + q.exp() * (q - middle(p, q))) / 2).sum(1), "over the tokens"),
        (lambda p, q: (p * (p - q).exp()).mean(-1), "not symmetric"),
        (lambda p, q: js(p.log(), q.log()), "NaN"),
        (lambda p, q: js(p, q).detach(), "no gradient"),
        (lambda p, q: js(p, q) + 0.1 * (p - q).abs().sum(-1), "is expected there"),
        (lambda p, q: "js", "an array of numbers is expected"),
    ],
)
def test_js_divergence_names_the_mistake(mistake, word):
    found = check.js_divergence(mistake)
    assert not found and found.status == "mistake"
    assert word in found.message


def gated(div, gate, cap):
    return (gate * relu(cap - div)).sum() / gate.sum().clamp(min=1e-6)


def test_capped_pull_apart_passes_on_right_answers():
    assert check.capped_pull_apart(gated)
    assert check.capped_pull_apart(lambda d, g, c: (g * (c - d).clamp(min=0)).sum() / max(g.sum(), 1e-6))


@pytest.mark.parametrize(
    ("mistake", "word"),
    [
        (lambda d, g, c: -gated(d, g, c), "sign is wrong"),
        (lambda d, g, c: (g * relu(d - c)).sum() / g.sum(), "sign is wrong"),
        (lambda d, g, c: (g * d).sum() / g.sum(), "sign is wrong"),
        (lambda d, g, c: (g * d.clamp(max=c)).sum() / g.sum(), "sign is wrong"),
        (lambda d, g, c: (g * (c - d)).sum() / g.sum(), "no cap"),
        (lambda d, g, c: -(g * d).sum() / g.sum(), "no cap"),
        (lambda d, g, c: (g * (c - d).abs()).sum() / g.sum(), "pulled back"),
        (lambda d, g, c: -(g * d.clamp(max=c)).sum() / g.sum(), "off by the cap"),
        (lambda d, g, c: relu(c - d).mean(), "gate is ignored"),
        (lambda d, g, c: relu(c - d).sum() / g.sum(), "gate is ignored"),
        (lambda d, g, c: gated(d, 1 - g, c), "gate is inverted"),
        (lambda d, g, c: ((1 - g) * relu(c - d)).mean(), "gate is inverted"),
        (lambda d, g, c: (g * relu(c - d)).mean(), "number of samples"),
        (lambda d, g, c: (g * relu(c - d)).sum(), "divide it by the sum of the gates"),
        (lambda d, g, c: g * relu(c - d), "for each sample"),
        (lambda d, g, c: g * relu(c - d) / g.sum(), "for each sample"),
        (lambda d, g, c: (g * relu(c - d)).sum() / g.sum().clamp(min=1), "small gates"),
        (lambda d, g, c: (g * relu(c - d)).sum() / g.sum(), "every gate at 0"),
        (lambda d, g, c: gated(d, g, c).detach(), "no gradient"),
        (lambda d, g, c: gated(d, g, c).item(), "no gradient"),
        (lambda d, g, c: gated(d.detach(), g, c) + 0 * d.sum(), "its gradient is not"),
    ],
)
def test_capped_pull_apart_names_the_mistake(mistake, word):
    found = check.capped_pull_apart(mistake)
    assert not found and found.status == "mistake"
    assert word in found.message


@pytest.mark.parametrize("name", ["poison_indices", "js_divergence", "capped_pull_apart"])
def test_an_empty_stub_is_not_done(name):
    found = getattr(check, name)(lambda *arguments: ...)
    assert found.status == "not done" and not found
