"""The checks of notebook 04: right answers pass, and each typical mistake is named."""

import numpy as np
import pytest
import torch
from scipy.stats import rankdata
from sklearn.metrics import roc_auc_score

from pcvr.defenses.losses import js_divergence, label_vs_rest
from pcvr.teaching import check


def pairs(clean, suspect, tie=0.5):
    clean, suspect = np.asarray(clean), np.asarray(suspect)
    return (suspect[:, None] < clean).mean() + tie * (suspect[:, None] == clean).mean()


def ranks(clean, suspect, method="average"):
    m, n = len(suspect), len(clean)
    found = rankdata(np.r_[clean, suspect], method=method)
    return 1 - (found[n:].sum() - m * (m + 1) / 2) / (m * n)


def by_sklearn(clean, suspect):
    return roc_auc_score(np.r_[np.zeros(len(clean)), np.ones(len(suspect))], -np.r_[clean, suspect])


@pytest.mark.parametrize("right", [pairs, ranks, by_sklearn, lambda c, s: torch.tensor(pairs(c, s))])
def test_auroc_passes_on_right_answers(right):
    assert check.auroc(right)


def no_offset(clean, suspect):
    found = rankdata(np.r_[clean, suspect])
    return 1 - found[len(clean) :].sum() / (len(clean) * len(suspect))


@pytest.mark.parametrize(
    ("mistake", "word"),
    [
        (lambda c, s: 1 - pairs(c, s), "*above*"),
        (lambda c, s: pairs(c, s, 0), "Ties are left out"),
        (lambda c, s: pairs(c, s, 1), "count as one"),
        (lambda c, s: (s[:, None] > c).mean(), "leaves ties out"),
        (lambda c, s: (s[:, None] >= c).mean(), "a tie as one"),
        (lambda c, s: pairs(c, s) * len(c) * len(s), "number of pairs"),
        (lambda c, s: pairs(c, s) * len(c), "divided by M alone"),
        (lambda c, s: pairs(c, s) * len(s), "divided by N alone"),
        (no_offset, "subtract M (M + 1) / 2"),
        (lambda c, s: ranks(c, s, "ordinal"), "mean of their ranks"),
        (lambda c, s: ranks(c, s, "min"), "lowest rank"),
        (lambda c, s: (s < c.mean()).mean(), "mean of the clean scores"),
        (lambda c, s: float(s.mean() < c.mean()), "means of both groups"),
        (lambda c, s: (s[:, None] < c).mean(1), "shape"),
        (lambda c, s: (np.asarray(s)[: min(len(c), len(s))] < c[: min(len(c), len(s))]).mean(), "expected"),
        (lambda c: 0.5, "arguments"),
    ],
)
def test_auroc_names_the_mistake(mistake, word):
    found = check.auroc(mistake)
    assert found.status == "mistake" and word in found.message


def test_auroc_is_looked_at_in_another_order_too():
    seen: list[int] = []

    def remembers(clean, suspect):
        value = pairs(clean, suspect)
        if len(clean) == 23 and seen:
            return value / 2
        seen.append(1)
        return value

    assert "Another order" in check.auroc(remembers).message


@pytest.mark.parametrize("stub", [lambda *_: ..., lambda *_: None])
@pytest.mark.parametrize("name", ["auroc", "label_divergence"])
def test_a_stub_is_not_done(name, stub):
    assert getattr(check, name)(stub).status == "not done"


def two(p, label):
    one = p.gather(1, label[:, None])[:, 0]
    return torch.stack([one, 1 - one], -1)


def js(p, q):
    m = (p + q) / 2
    return ((p * (p / m).log() + q * (q / m).log()) / 2).sum(-1)


def right_label(p, q, label):
    return js(two(p, label), two(q, label))


def test_label_divergence_passes_on_right_answers():
    assert check.label_divergence(right_label)
    assert check.label_divergence(lambda p, q, label: right_label(p, q, label).numpy())
    package = lambda p, q, label: js_divergence(label_vs_rest(p.log(), label), label_vs_rest(q.log(), label))  # noqa: E731
    assert check.label_divergence(package)


def terms(p, q):
    m = (p + q) / 2
    return (p * (p / m).log() + q * (q / m).log()) / 2


def kl(p, q):
    return (p * (p / q).log()).sum(-1)


def both(function):
    return lambda p, q, t: function(two(p, t), two(q, t))


@pytest.mark.parametrize(
    ("mistake", "word"),
    [
        (lambda p, q, t: js(p, q), "whole distributions"),
        (both(lambda p, q: terms(p, q)[:, 0]), "term of the label token"),
        (both(lambda p, q: terms(p, q)[:, 1]), "term of the rest"),
        (lambda p, q, t: right_label(p, q, p.argmax(-1)), "most likely word of the first view"),
        (lambda p, q, t: js(two(p, p.argmax(-1)), two(q, q.argmax(-1))), "most likely word of each view"),
        (both(lambda p, q: (p - q).abs()[:, 0]), "difference of the two"),
        (both(lambda p, q: 2 * js(p, q)), "twice"),
        (both(lambda p, q: terms(p, q).mean(-1)), "half"),
        (both(lambda p, q: js(p, q) / np.log(2)), "bits"),
        (both(kl), "KL(p || q)"),
        (both(lambda p, q: kl(q, p)), "KL(q || p)"),
        (both(lambda p, q: kl(p, (p + q) / 2)), "KL(p || m)"),
        (both(lambda p, q: kl(q, (p + q) / 2)), "KL(q || m)"),
        (both(lambda p, q: js(p, q).mean()), "a mean"),
        (both(lambda p, q: js(p, q).sum()), "a sum"),
        (both(terms), "still apart"),
        (both(lambda p, q: -js(p, q)), "sign"),
        (lambda p, q, t: js(p[:, t], q[:, t])[:3], "shape"),
        (lambda p, q, t: [][0], "IndexError"),
    ],
)
def test_label_divergence_names_the_mistake(mistake, word):
    found = check.label_divergence(mistake)
    assert found.status == "mistake" and word in found.message
