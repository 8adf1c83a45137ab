"""Each term of the loss against an independent calculation."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import jensenshannon
from scipy.special import softmax
from scipy.stats import entropy as scipy_entropy
from torch import Tensor

from pcvr.defenses.losses import LN2, entropy, entropy_excess, feature_agreement, js_divergence, pull_apart
from pcvr.models.forward import AnswerLogits


def logits(rows: int, words: int, seed: int, scale: float = 3.0) -> Tensor:
    return scale * torch.randn(rows, words, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


SIZES = (st.integers(1, 6), st.integers(2, 50), st.integers(0, 10_000), st.floats(0.01, 30))


class TestJensenShannon:
    @given(*SIZES)
    @settings(max_examples=60, deadline=None)
    def test_against_scipy(self, rows: int, words: int, seed: int, scale: float) -> None:
        one, other = logits(rows, words, seed, scale), logits(rows, words, seed + 1, scale)
        p, q = softmax(one.numpy(), 1), softmax(other.numpy(), 1)
        expected = jensenshannon(p, q, axis=1) ** 2
        np.testing.assert_allclose(js_divergence(one, other).numpy(), expected, rtol=1e-7, atol=1e-12)

    @given(*SIZES)
    @settings(max_examples=60, deadline=None)
    def test_bounds_symmetry_and_shift(self, rows: int, words: int, seed: int, scale: float) -> None:
        one, other = logits(rows, words, seed, scale).float(), logits(rows, words, seed + 1, scale).float()
        found = js_divergence(one, other)
        assert found.shape == (rows,)
        assert (found >= 0).all()
        assert (found <= LN2 + 1e-6).all()
        assert torch.allclose(found, js_divergence(other, one), atol=1e-6)
        assert torch.allclose(found, js_divergence(one + 7, other - 3), atol=1e-5), "logits are unnormalised"
        assert (js_divergence(one, one) < 1e-6).all()

    def test_certain_and_contrary_is_ln_2(self) -> None:
        one, other = torch.tensor([[50.0, 0.0]]), torch.tensor([[0.0, 50.0]])
        assert js_divergence(one, other).item() == pytest.approx(math.log(2), abs=1e-6)

    @pytest.mark.parametrize("size", [1e2, 1e4, 1e30])
    def test_extreme_logits_stay_finite_and_so_do_their_gradients(self, size: float) -> None:
        one = torch.tensor([[size, -size, 0.0], [0.0, 0.0, size], [size, size, -size]], requires_grad=True)
        other = torch.tensor([[-size, size, 0.0], [0.0, 0.0, size], [-size, -size, size]])
        found = js_divergence(one, other)
        found.sum().backward()
        assert torch.isfinite(found).all()
        assert found[1].item() == pytest.approx(0, abs=1e-6)
        assert one.grad is not None
        assert torch.isfinite(one.grad).all()

    def test_gradient_agrees_with_finite_differences(self) -> None:
        one, other = logits(2, 5, 0).requires_grad_(), logits(2, 5, 1).requires_grad_()
        assert torch.autograd.gradcheck(js_divergence, (one, other))


class TestEntropy:
    @given(*SIZES)
    @settings(max_examples=60, deadline=None)
    def test_against_scipy(self, rows: int, words: int, seed: int, scale: float) -> None:
        one = logits(rows, words, seed, scale)
        found = entropy(one)
        np.testing.assert_allclose(found.numpy(), scipy_entropy(softmax(one.numpy(), 1), axis=1), rtol=1e-7, atol=1e-12)
        assert (found >= 0).all()
        assert (found <= math.log(words) + 1e-9).all()

    def test_uniform_is_the_largest_and_extreme_is_none(self) -> None:
        assert entropy(torch.zeros(1, 7)).item() == pytest.approx(math.log(7))
        extreme = torch.tensor([[1e30, -1e30, 0.0]], requires_grad=True)
        found = entropy(extreme)
        found.backward()
        assert found.item() == 0
        assert extreme.grad is not None
        assert torch.isfinite(extreme.grad).all()


class TestPullApart:
    @given(st.lists(st.tuples(st.floats(0, 0.69), st.floats(0, 1)), min_size=1, max_size=8), st.floats(0.05, 0.69))
    @settings(max_examples=80, deadline=None)
    def test_against_a_loop(self, pairs: list[tuple[float, float]], cap: float) -> None:
        total = sum(g * max(0.0, cap - d) for d, g in pairs)
        expected = total / max(1e-6, sum(g for _, g in pairs))
        divergence, gate = (torch.tensor(v, dtype=torch.float64) for v in zip(*pairs, strict=True))
        assert pull_apart(divergence, gate, cap).item() == pytest.approx(expected, rel=1e-9, abs=1e-12)

    def test_there_is_no_gradient_above_the_cap(self) -> None:
        divergence = torch.tensor([0.1, 0.5, 0.69], requires_grad=True)
        pull_apart(divergence, torch.ones(3), 0.4).backward()
        assert divergence.grad is not None
        assert divergence.grad.tolist() == pytest.approx([-1 / 3, 0, 0])

    def test_a_gate_of_zero_leaves_a_sample_alone(self) -> None:
        divergence = torch.tensor([0.1, 0.2], requires_grad=True)
        loss = pull_apart(divergence, torch.tensor([0.0, 1.0]), 0.4)
        loss.backward()
        assert loss.item() == pytest.approx(0.2)
        assert divergence.grad is not None
        assert divergence.grad.tolist() == pytest.approx([0, -1])

    def test_a_gate_of_zero_everywhere_is_zero_and_not_nan(self) -> None:
        divergence = torch.tensor([0.1, 0.2], requires_grad=True)
        loss = pull_apart(divergence, torch.zeros(2), 0.4)
        loss.backward()
        assert loss.item() == 0
        assert divergence.grad is not None
        assert divergence.grad.tolist() == [0, 0]


def test_a_fading_gate_lets_the_whole_term_fade() -> None:
    gate, divergence = torch.tensor([1.0, 1.0]), torch.tensor([0.1, 0.3])
    whole = pull_apart(divergence, gate, 0.4)
    assert pull_apart(divergence, gate / 10, 0.4).item() == pytest.approx(whole.item())  # a mean does not
    assert pull_apart(divergence, gate / 10, 0.4, gate).item() == pytest.approx(whole.item() / 10)


class TestEntropyExcess:
    @given(
        st.lists(st.tuples(st.floats(0, 6), st.floats(0, 1)), min_size=1, max_size=8), st.floats(0, 6), st.floats(0, 1)
    )
    @settings(max_examples=80, deadline=None)
    def test_against_a_loop(self, pairs: list[tuple[float, float]], reference: float, margin: float) -> None:
        total = sum(w * max(0.0, h - reference - margin) for h, w in pairs)
        expected = total / max(1e-6, sum(w for _, w in pairs))
        values, weight = (torch.tensor(v, dtype=torch.float64) for v in zip(*pairs, strict=True))
        assert entropy_excess(values, weight, reference, margin).item() == pytest.approx(expected, rel=1e-9, abs=1e-12)

    def test_below_the_ceiling_there_is_no_gradient_and_above_it_points_down(self) -> None:
        values = torch.tensor([0.8, 1.0, 1.2, 0.5, 1.5, 9.0], requires_grad=True)
        entropy_excess(values, torch.tensor([1.0, 1, 1, 1, 1, 0]), 1.0, 0.25).backward()
        assert values.grad is not None
        assert values.grad.tolist() == pytest.approx([0, 0, 0, 0, 0.2, 0])


def test_feature_agreement_is_the_cosine() -> None:
    one, other = logits(4, 6, 0), logits(4, 6, 1)
    a, b = one.numpy(), other.numpy()
    expected = [x @ y / (np.linalg.norm(x) * np.linalg.norm(y)) for x, y in zip(a, b, strict=True)]
    assert feature_agreement(one, other).tolist() == pytest.approx(expected, rel=1e-5)
    assert feature_agreement(one, 3 * one).tolist() == pytest.approx([1] * 4)
    assert feature_agreement(one, -one).tolist() == pytest.approx([-1] * 4)
    assert torch.isfinite(feature_agreement(torch.zeros(1, 3), torch.ones(1, 3))).all()


def test_sample_mean_weighs_each_answer_alike_whatever_its_length() -> None:
    owner = torch.tensor([0, 0, 0, 2, 2, 3])
    packed = AnswerLogits(torch.zeros(6, 2), torch.zeros(6, dtype=torch.long), owner, samples=4)
    assert packed.sample_mean(torch.tensor([1.0, 2, 6, 4, 8, 5])).tolist() == [3, 0, 6, 5]


def test_answers_of_two_batches_join_as_if_they_had_been_one() -> None:
    owner = torch.tensor([0, 0, 0, 2, 2, 3])
    whole = AnswerLogits(logits(6, 3, 0), torch.arange(6), owner, samples=4, hidden=logits(6, 2, 1))
    rows = torch.tensor([0, 1]), torch.tensor([2, 3])
    again = AnswerLogits.joined([whole.of(rows[0]), whole.of(rows[1])])
    assert again.samples == 4
    for name in ("logits", "targets", "owner", "hidden"):
        assert torch.equal(getattr(again, name), getattr(whole, name))
