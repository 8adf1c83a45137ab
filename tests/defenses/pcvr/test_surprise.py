"""How unexpected a label is, and its rank among recent ones."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pcvr.defenses.pcvr.surprise import (
    DOUBTED,
    FADING,
    FEWEST,
    RECENT,
    USUAL,
    SurpriseRanks,
    TokenUsual,
    span_surprise,
    token_surprise,
)
from pcvr.models.forward import AnswerLogits

LENGTHS = st.lists(st.integers(0, 7), min_size=1, max_size=6)


def slowest(values: np.ndarray, usual: float) -> float:
    """The largest sum over all stretches, written out; the empty one has 0."""
    sums = [sum(values[a:b] - usual) for a in range(len(values)) for b in range(a + 1, len(values) + 1)]
    return max([0.0, *sums])


@given(lengths=LENGTHS, seed=st.integers(0, 9999), usual=st.floats(0, 3))
@settings(max_examples=80, deadline=None)
def test_the_span_is_the_largest_of_all_stretches(lengths: list[int], seed: int, usual: float) -> None:
    nll = np.random.default_rng(seed).exponential(2, sum(lengths))
    owner = np.repeat(np.arange(len(lengths)), lengths)
    found = span_surprise(nll, owner, len(lengths), usual)
    parts = np.split(nll, np.cumsum(lengths)[:-1])
    np.testing.assert_allclose(found, [slowest(part, usual) for part in parts], atol=1e-9)


def test_a_wrong_part_counts_as_much_in_front_of_a_true_answer_as_alone() -> None:
    alone = span_surprise(np.array([6.0, 5.0, 6.0]), np.zeros(3, int), 1, 0.5)
    kept = span_surprise(np.array([6.0, 5.0, 6.0, *[0.1] * 20]), np.zeros(23, int), 1, 0.5)
    np.testing.assert_allclose(alone, kept)


def test_a_long_label_is_not_suspicious_for_its_length() -> None:
    short, long = np.full(5, 0.5), np.full(50, 0.5)
    found = span_surprise(np.concatenate([short, long]), np.repeat([0, 1], [5, 50]), 2, 0.5)
    np.testing.assert_allclose(found, 0, atol=1e-9)


def test_the_surprise_of_a_token_is_its_negative_log_likelihood() -> None:
    logits = torch.randn(5, 9, generator=torch.Generator().manual_seed(0))
    said = AnswerLogits(logits, torch.tensor([1, 2, 3, 4, 5]), torch.tensor([0, 0, 1, 1, 1]), 2)
    nll, owner, token = token_surprise(said)
    np.testing.assert_allclose(nll, -logits.log_softmax(-1)[range(5), [1, 2, 3, 4, 5]].numpy(), rtol=1e-5)
    assert owner.tolist() == [0, 0, 1, 1, 1] and token.tolist() == [1, 2, 3, 4, 5]


class TestTokens:
    @given(seed=st.integers(0, 9999), sizes=st.lists(st.integers(0, 12), min_size=1, max_size=6))
    @settings(max_examples=60, deadline=None)
    def test_the_usual_surprise_is_a_faded_mean(self, seed: int, sizes: list[int]) -> None:
        rng = np.random.default_rng(seed)
        known = TokenUsual()
        seen: list[tuple[int, float, float]] = []
        for size in sizes:
            token, nll = rng.integers(0, 5, size), rng.exponential(2, size)
            seen = [(t, n, weight * FADING**4) for t, n, weight in seen] + [
                (t, n, 1.0) for t, n in zip(token, nll, strict=True)
            ]
            known.take_in(token, nll, visits=4)
        for token in known.token:
            mine = [(n, weight) for t, n, weight in seen if t == token]
            uses = sum(weight for _, weight in mine)
            mean = (sum(n * weight for n, weight in mine) + DOUBTED * 0.7) / (uses + DOUBTED)
            assert known.of(np.array([token]), 0.7)[0] == pytest.approx(mean)

    def test_tokens_of_long_ago_are_forgotten(self) -> None:
        known = TokenUsual()
        known.take_in(np.array([7]), np.ones(1), 1)
        for token in range(100, 160):
            known.take_in(np.array([token]), np.ones(1), 100)
        assert 7 not in known.token and len(known.token) < 60

    def test_a_wrong_word_stands_out_though_every_style_is_new(self) -> None:
        """A short plausible target is no less expected than long captions in a style that is new, but its words are."""
        rng, ranks = np.random.default_rng(0), SurpriseRanks()
        style, words = np.arange(10), np.arange(10, 20)
        for _ in range(40):
            nll, owner, token, poisoned = [], [], [], np.arange(32) < 2
            for sample in range(32):
                told = words[:2] if poisoned[sample] else rng.choice(words, 2)
                token += [*([] if poisoned[sample] else style), *told]
                nll += [
                    *([] if poisoned[sample] else rng.normal(4, 0.3, 10)),
                    *rng.normal(5 if poisoned[sample] else 1, 0.3, 2),
                ]
                owner += [sample] * (2 if poisoned[sample] else 12)
            rank = ranks.rank_labels(np.array(nll), np.array(owner), np.array(token), 32)
        assert rank[poisoned].min() > 0.85


class TestRanks:
    def test_few_visits_have_no_rank(self) -> None:
        ranks = SurpriseRanks()
        found = ranks.rank_labels(np.arange(FEWEST - 1.0), np.arange(FEWEST - 1), np.arange(FEWEST - 1), FEWEST - 1)
        assert set(found.tolist()) == {0.5}

    def test_the_least_expected_come_last(self) -> None:
        values = np.random.default_rng(0).permutation(200) / 10.0
        found = SurpriseRanks().rank_labels(values, np.arange(200), np.arange(200), 200)
        high = values > values.mean()
        assert (np.argsort(found[high]) == np.argsort(values[high])).all()
        assert found.max() > 0.99 and found.min() >= 0

    @pytest.mark.parametrize("size", [1, 2, 8])
    def test_the_batch_size_does_not_matter_to_a_rank(self, size: int) -> None:
        values = np.random.default_rng(1).exponential(1, 256)
        ranks = SurpriseRanks()
        for start in range(0, 256, size):
            part = values[start : start + size]
            last = ranks.rank_labels(part, np.arange(size), np.arange(size), size)
        assert abs(last[-1] - (values < values[-1]).mean()) < 0.1

    def test_what_is_remembered_does_not_grow(self) -> None:
        ranks = SurpriseRanks()
        for _ in range(60):
            ranks.rank_labels(np.ones(32), np.arange(32), np.arange(32), 32)
        assert len(ranks.recent) == RECENT and len(ranks.usual) == USUAL

    def test_processes_rank_among_all(self) -> None:
        def gather(values: np.ndarray) -> np.ndarray:
            return np.concatenate([values, np.full(40, 100.0) if len(values) else values])

        found = SurpriseRanks().rank_labels(np.arange(40.0), np.arange(40), np.arange(40), 40, gather)
        assert found.max() <= 0.5, "another process has all the surprising ones"
