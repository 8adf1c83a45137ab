"""The optional forms of PCVR's terms, each against an independent calculation."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import softmax
from scipy.stats import entropy as scipy_entropy
from torch import Tensor

from pcvr.defenses.losses import (
    DIVERGENCES,
    LARGEST,
    LN2,
    entropy_by_uncertainty,
    entropy_excess,
    entropy_outside,
    label_vs_rest,
    pull_apart,
    pull_together,
)

SIZES = (st.integers(1, 6), st.integers(2, 40), st.integers(0, 10_000), st.floats(0.01, 8))


def logits(rows: int, words: int, seed: int, scale: float = 3.0) -> Tensor:
    return scale * torch.randn(rows, words, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@given(*SIZES)
@settings(max_examples=60, deadline=None)
def test_divergences_against_scipy(rows: int, words: int, seed: int, scale: float) -> None:
    one, other = logits(rows, words, seed, scale), logits(rows, words, seed + 1, scale)
    p, q = softmax(one.numpy(), 1), softmax(other.numpy(), 1)
    expected = {
        "kl": scipy_entropy(p, q, axis=1),
        "reverse_kl": scipy_entropy(q, p, axis=1),
        "tv": 0.5 * np.abs(p - q).sum(1),
    }
    for name, values in expected.items():
        np.testing.assert_allclose(DIVERGENCES[name](one, other).numpy(), values, rtol=1e-6, atol=1e-12)


@pytest.mark.parametrize("name", sorted(DIVERGENCES))
def test_no_divergence_leaves_its_largest_value_or_its_gradient(name: str) -> None:
    one = torch.tensor([[40.0, -40.0], [0.0, 0.0]], requires_grad=True)
    found = DIVERGENCES[name](one, torch.tensor([[-40.0, 40.0], [0.0, 0.0]]))
    assert found[1].item() == pytest.approx(0, abs=1e-6)
    if name in ("js", "tv"):
        assert found[0].item() == pytest.approx(LARGEST[name], abs=1e-6)
    found.sum().backward()
    assert one.grad is not None and torch.isfinite(one.grad).all()


@given(*SIZES)
@settings(max_examples=60, deadline=None)
def test_the_label_token_against_all_others(rows: int, words: int, seed: int, scale: float) -> None:
    one = logits(rows, words, seed, scale)
    targets = torch.randint(words, (rows,), generator=torch.Generator().manual_seed(seed))
    p = softmax(one.numpy(), 1)[np.arange(rows), targets.numpy()]
    found = label_vs_rest(one, targets).softmax(-1).numpy()
    np.testing.assert_allclose(found, np.stack([p, 1 - p], 1), atol=2e-6)


def test_the_label_token_cannot_diverge_more_than_all_words() -> None:
    one, other = logits(50, 9, 1), logits(50, 9, 2)
    targets = torch.arange(50) % 9
    for divergence in DIVERGENCES.values():
        part = divergence(label_vs_rest(one, targets), label_vs_rest(other, targets))
        assert (part <= divergence(one, other) + 1e-9).all(), "merging words loses information"


class TestBounds:
    divergence = torch.tensor([0.1, 0.3, 0.6])
    gate = torch.tensor([1.0, 0.5, 0.25])

    def test_by_hand(self) -> None:
        whole = 1.0 + 0.5 + 0.25
        hinge = (1.0 * 0.3 + 0.5 * 0.1 + 0.25 * 0) / whole
        mean = (1.0 * 0.1 + 0.5 * 0.3 + 0.25 * 0.6) / whole
        assert pull_apart(self.divergence, self.gate, 0.4).item() == pytest.approx(hinge)
        assert pull_apart(self.divergence, self.gate, 0.4, bound="cap").item() == pytest.approx(0.4 - mean)
        assert pull_apart(self.divergence, self.gate, 0.4, bound="none").item() == pytest.approx(-mean)
        assert pull_together(self.divergence, self.gate).item() == pytest.approx(mean)

    @pytest.mark.parametrize("bound", ["hinge", "cap", "none"])
    def test_apart_and_together_pull_opposite_ways(self, bound: str) -> None:
        d = self.divergence.clone().requires_grad_()
        (apart,) = torch.autograd.grad(pull_apart(d, self.gate, LN2, bound=bound), d)
        (together,) = torch.autograd.grad(pull_together(d, self.gate), d)
        torch.testing.assert_close(apart, -together)

    def test_far_enough_is_left_alone_but_without_a_bound(self) -> None:
        far = torch.full((3,), 0.5)
        assert pull_apart(far, self.gate, 0.4).item() == 0
        assert pull_apart(far, self.gate, 0.4, bound="cap").item() == 0
        assert pull_apart(far, self.gate, 0.4, bound="none").item() == pytest.approx(-0.5)

    def test_one_far_apart_makes_up_for_others_under_the_cap_alone(self) -> None:
        d, all_alike = torch.tensor([0.0, 0.69]), torch.ones(2)
        assert pull_apart(d, all_alike, 0.3, bound="cap").item() == 0
        assert pull_apart(d, all_alike, 0.3).item() == pytest.approx(0.15)


class TestEntropyForms:
    values, weight = torch.tensor([0.2, 1.0, 1.6]), torch.tensor([1.0, 1.0, 0.5])

    def test_by_hand(self) -> None:
        assert entropy_excess(self.values, self.weight, 1.0, 0.1).item() == pytest.approx(0.5 * 0.5 / 2.5)
        assert entropy_outside(self.values, self.weight, 1.0, 0.1).item() == pytest.approx((0.7 + 0.5 * 0.5) / 2.5)
        unsure = [w * h / (h + 1.0) for w, h in zip([1.0, 1.0, 0.5], [0.2, 1.0, 1.6], strict=True)]
        expected = unsure[2] * 0.5 / sum(unsure)
        assert entropy_by_uncertainty(self.values, self.weight, 1.0, 0.1).item() == pytest.approx(expected)

    def test_weights_by_uncertainty_are_no_way_to_lower_the_loss(self) -> None:
        values = torch.tensor([2.0], requires_grad=True)
        (gradient,) = torch.autograd.grad(entropy_by_uncertainty(values, torch.ones(1), 1.0, 0.0), values)
        assert gradient.item() == pytest.approx(1.0), "through the excess alone"

    def test_nobody_to_constrain(self) -> None:
        for form in (entropy_excess, entropy_outside, entropy_by_uncertainty):
            assert math.isfinite(form(self.values, torch.zeros(3), 0.5, 0.1).item())
