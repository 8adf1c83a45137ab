"""The checks on reading results, of notebooks 04, 07, 08 and 09; and the holes that readers found in older checks."""

from typing import Any

import numpy as np
import pytest
import torch

from pcvr.evaluation.intervals import wilson
from pcvr.teaching import check
from tests.verdicts import is_named, is_not_done, passes

NAN = float("nan")


def by_sorting(clean, budget):
    """The k-th lowest clean score flags the k below it, unless there are ties."""
    return np.sort(clean)[int(np.floor(budget * len(clean) + 1e-9))]


def by_trying(clean, budget):
    return max(t for t in [*clean, np.inf] if (clean < t).mean() <= budget)


def effects(settings, asr, strict=True, gap=abs, best=max):
    n, knobs = range(len(asr)), range(settings.shape[1])
    found = []
    for knob in knobs:
        others = [k for k in knobs if k != knob]
        gaps = [
            gap(asr[i] - asr[j])
            for i in n
            for j in n
            if i < j
            and settings[i, knob] != settings[j, knob]
            and (not strict or (settings[i, others] == settings[j, others]).all())
        ]
        found.append(best([*gaps, 0] if best is max else gaps or [0]))
    return found


def means(settings, asr, middle=np.mean):
    return [np.ptp([middle(asr[column == value]) for value in set(column)]) for column in settings.T]


def safest(undefended, defended, took=np.greater_equal, worst=lambda rows: rows.max(1), pick=np.nanargmin, none=-1):
    rows = worst(defended[:, took(undefended, 0.9)])
    return int(pick(rows)) if np.isfinite(rows).any() else none


def words(plain, defended, n, low=None, high=None):
    if plain / n < 0.9:
        return "did not take"
    ends = wilson(defended, n)
    low, high = ends[0] if low is None else low(ends), ends[1] if high is None else high(ends)
    return "got through" if low > 0.1 else "held" if high < 0.1 else "undecided"


def swapped(plain, defended, n):
    said = words(plain, defended, n)
    return {"held": "got through", "got through": "held"}.get(said, said)


RIGHT: dict[str, list[Any]] = {
    "choose_threshold": [
        by_sorting,
        by_trying,
        lambda c, b: [by_sorting(c, b)],
        lambda c, b: torch.tensor(by_trying(c, b)),
    ],
    "knob_effects": [effects, lambda s, a: np.array(effects(s, a)), lambda s, a: torch.tensor(effects(s, a))],
    "safest_defence": [safest, lambda u, d: np.int64(safest(u, d)), lambda u, d: [safest(u, d)]],
    "verdict": [words, lambda *given: np.str_(words(*given))],
}
WRONG = [
    ("choose_threshold", lambda c, b: np.quantile(c, 1 - b), "*high* scores"),
    ("choose_threshold", lambda c, b: np.sort(c)[int(b)], "nothing at all"),
    ("choose_threshold", lambda c, b: np.quantile(c, b / 100), "per cent"),
    ("choose_threshold", lambda c, b: np.nextafter(by_sorting(c, b), np.inf), "One sample more"),
    ("choose_threshold", lambda c, b: c.max() + 1, "every clean sample"),
    ("choose_threshold", lambda c, b: c.min(), "nothing at all"),
    ("choose_threshold", lambda c, b: c.mean(), "too many"),
    ("choose_threshold", lambda c, b: c < 1, "one threshold"),
    ("choose_threshold", lambda c, b: NAN, "one threshold"),
    ("knob_effects", lambda s, a: effects(s, a, strict=False), "differ in other knobs"),
    ("knob_effects", means, "means of each value"),
    ("knob_effects", lambda s, a: means(s, a, np.median), "medians of each value"),
    ("knob_effects", lambda s, a: effects(s, a, gap=lambda d: d), "have a sign"),
    ("knob_effects", lambda s, a: effects(s, a, gap=lambda d: -d), "have a sign"),
    ("knob_effects", lambda s, a: int(np.argmax(effects(s, a))), "the knob's number"),
    ("knob_effects", lambda s, a: effects(s, a, best=np.mean), "mean difference"),
    ("knob_effects", lambda s, a: effects(s, a, gap=lambda d: 1, best=sum), "counts the pairs"),
    ("knob_effects", lambda s, a: [[e] for e in effects(s, a)], "an axis of length 1"),
    ("safest_defence", lambda u, d: safest(u, d, worst=lambda r: r.mean(1)), "the mean over the attacks"),
    ("safest_defence", lambda u, d: safest(u, d, took=lambda u, t: u > -1, worst=lambda r: r.mean(1)), "all attacks"),
    ("safest_defence", lambda u, d: safest(u, d, took=lambda u, t: u > -1), "did not take count"),
    ("safest_defence", lambda u, d: safest(u, np.nan_to_num(d)), "or counts as 0"),
    ("safest_defence", lambda u, d: safest(u, d, worst=lambda r: np.nanmax(r, 1)), "is skipped"),
    ("safest_defence", lambda u, d: safest(u, d, none=0), "return -1"),
    ("safest_defence", lambda u, d: safest(u, d, pick=np.nanargmax), "highest maximum"),
    ("safest_defence", lambda u, d: safest(u, d, worst=lambda r: np.nan_to_num(r, nan=1).min(1)), "best attack"),
    ("safest_defence", lambda u, d: safest(u, d, took=np.greater), "compare with >="),
    ("safest_defence", lambda u, d: None if safest(u, d) < 0 else safest(u, d), "has no return"),
    ("safest_defence", lambda u, d: d.max(1), "one row number"),
    ("safest_defence", lambda u, d: 7, "numbered 0 to"),
    ("safest_defence", lambda u, d: 1, "is expected"),
    ("verdict", lambda p, d, n: words(n, d, n), "without a defence is ignored"),
    ("verdict", lambda p, d, n: words(p, d, n, lambda e: d / n, lambda e: d / n), "The rate alone"),
    ("verdict", lambda p, d, n: words(n, d, n, lambda e: d / n, lambda e: d / n), "Neither"),
    ("verdict", lambda p, d, n: words(p, d, n, high=lambda e: e[0]), "lower end decides"),
    ("verdict", lambda p, d, n: words(p, d, n, low=lambda e: e[1]), "upper end decides"),
    ("verdict", lambda p, d, n: words(d, p, n), "counts are exchanged"),
    ("verdict", swapped, "are exchanged: a high rate"),
    ("verdict", lambda p, d, n: "held", "is expected"),
    ("verdict", lambda p, d, n: "won", "one of"),
    ("verdict", lambda p, d, n: None if p / n < 0.9 else words(p, d, n), "has no return"),
    # Holes in older checks.
    (
        "choose_setting",
        lambda a, u, least: None if u.max() < least else int(np.where(u >= least, a, 99).argmin()),
        "needs a return",
    ),
    ("frontier", lambda a, u: [], "No point is left"),
    ("greedy_decode", lambda f, end, limit: [int(f([]).max()) for _ in range(limit)], "not its logit"),
    ("poison_indices", lambda n, r, s: block(n, round(r * n), s), "neighbours"),
    ("poison_indices", lambda n, r, s: np.sort((block(n, round(r * n), s) + n - 9) % n), "neighbours"),
    ("poison_indices", lambda n, r, s: np.arange(round(r * n)) * int(1 / r) + s % max(int(1 / r) - 1, 1), "equal dist"),
    ("label_divergence", lambda p, q, label: torch.ones(4, 1), "an axis of length 1"),
]


def block(n, size, seed):
    return np.arange(size) + np.random.default_rng(seed).integers(0, n - size + 1)


@pytest.mark.parametrize(("name", "answer"), [(name, answer) for name, some in RIGHT.items() for answer in some])
def test_right_answers_pass(name, answer):
    passes(name, answer)


@pytest.mark.parametrize(("name", "mistake", "word"), WRONG)
def test_a_mistake_is_named(name, mistake, word):
    is_named(name, mistake, word)


@pytest.mark.parametrize("name", RIGHT)
def test_an_empty_stub_is_not_done_and_a_wrong_signature_is_a_mistake(name):
    is_not_done(name)


@pytest.mark.parametrize("name", ["auroc", "entropy_bound"])
def test_a_number_in_brackets_is_a_number(name):
    right = {
        "auroc": lambda clean, suspect: [wins(clean, suspect)],
        "entropy_bound": lambda *given: np.array([bound(*given)]),
    }
    assert getattr(check, name)(right[name])


def wins(clean, suspect):
    pairs = suspect[:, None] - clean[None]
    return float(np.mean((pairs < 0) + 0.5 * (pairs == 0)))


def bound(share, on, tokens):
    def plog(p, q):
        return p * np.log(q) if p else 0.0

    parts = plog(share, on) + plog(1 - share, tokens - on) - plog(share, share) - plog(1 - share, 1 - share)
    return parts / np.log(tokens)
