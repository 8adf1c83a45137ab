"""Bootstrap by image: against all resamples, the normal approximation, and a slow loop over whole corpora."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from pcvr import PcvrError
from pcvr.evaluation.bootstrap import bleu4_interval, bleu4_of, cider_interval, mean_interval
from pcvr.evaluation.text import bleu4, bleu_counts, cider_each

WORDS = "a red square and the blue circle on left of green star".split()


def captions(n: int, seed: int = 0) -> tuple[list[str], list[list[str]]]:
    """Answers that share some words with their two references; some are empty or long."""
    random = np.random.default_rng(seed)
    said, references = [], []
    for i in range(n):
        truth = list(random.choice(WORDS, size=random.integers(5, 12)))
        kept = [word if random.random() < 0.85 else "star" for word in truth]
        said.append("" if i == 3 else " ".join(kept[: random.integers(4, 12)]))
        references.append([" ".join(truth), " ".join([*truth[:4], "circle"])])
    return said, references


def test_bleu_from_counts_is_bleu_of_the_corpus() -> None:
    said, references = captions(40)
    counts = bleu_counts(said, references)
    assert counts.shape == (40, 10)
    for rows in (np.arange(40), np.arange(7), np.array([5, 5, 9, 3, 11, 3])):
        corpus = [said[i] for i in rows], [references[i] for i in rows]
        assert float(bleu4_of(counts[rows].sum(0))) == pytest.approx(bleu4(*corpus), rel=1e-9)


def test_bleu_interval_against_whole_corpora() -> None:
    said, references = captions(60)
    random = np.random.default_rng(1)
    drawn = []
    for _ in range(400):
        rows = random.integers(0, 60, 60)
        drawn.append(bleu4([said[i] for i in rows], [references[i] for i in rows]))
    low, high = np.quantile(drawn, [0.025, 0.975])
    assert bleu4_interval(said, references) == pytest.approx((low, high), abs=0.2 * (high - low))


def test_cider_interval_against_the_normal_approximation() -> None:
    said, references = captions(300)
    each = cider_each(said, references)
    half = 1.96 * each.std(ddof=1) / np.sqrt(len(each))
    assert cider_interval(said, references) == pytest.approx((each.mean() - half, each.mean() + half), abs=0.2 * half)


def test_all_resamples_of_four_images() -> None:
    values = [0.0, 1.0, 5.0, 9.0]
    every = sorted(np.mean(draw) for draw in itertools.product(values, repeat=4))
    low, high = np.quantile(every, [0.05, 0.95])
    assert mean_interval(values, 0.9) == pytest.approx((low, high), abs=0.5)


def test_it_is_repeatable_and_needs_two_images() -> None:
    values = np.linspace(0, 1, 30)
    assert mean_interval(values) == mean_interval(values) != mean_interval(values, seed=1)
    with pytest.raises(PcvrError, match="n is 1: a bootstrap by image needs at least 2"):
        mean_interval([1.0])
