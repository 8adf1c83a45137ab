"""The gate on scores whose truth is known."""

from __future__ import annotations

import numpy as np
import pytest

from pcvr.defenses.gate import fit_gate


def mixture(n: int, share: float, seed: int, low: float = 0.004, high: float = 0.12) -> tuple[np.ndarray, np.ndarray]:
    """``(scores [N], truth [N])``: log-normal divergences around `high`, and a share of them around `low`, nats."""
    rng = np.random.default_rng(seed)
    truth = np.zeros(n, dtype=bool)
    truth[rng.permutation(n)[: round(share * n)]] = True
    return np.exp(rng.normal(np.log(np.where(truth, low, high)), 0.45)), truth


@pytest.mark.parametrize("share", [0.01, 0.02, 0.05, 0.1])
@pytest.mark.parametrize("seed", range(3))
def test_a_low_cluster_is_found(share: float, seed: int) -> None:
    scores, truth = mixture(2000, share, seed)
    gate = fit_gate(scores)
    flagged = gate.suspicion > 0.5
    assert gate.found
    assert gate.suspicion.shape == (2000,)
    assert gate.suspicion.min() >= 0
    assert gate.suspicion.max() <= 1
    assert flagged[truth].mean() >= 0.95
    assert flagged[~truth].mean() <= 0.01
    assert gate.share == pytest.approx(share, abs=0.01)


def test_order_does_not_matter() -> None:
    scores, _ = mixture(500, 0.05, 0)
    order = np.random.default_rng(1).permutation(500)
    np.testing.assert_allclose(fit_gate(scores[order]).suspicion, fit_gate(scores).suspicion[order], atol=1e-6)


@pytest.mark.parametrize("spread", [0.2, 0.6])
def test_on_one_cluster_false_alarms_are_few(spread: float) -> None:
    alarms = []
    for seed in range(10):
        scores = np.exp(np.random.default_rng(seed).normal(np.log(0.1), spread, 1000))
        alarms.append((fit_gate(scores).suspicion > 0.5).mean())
    assert np.mean(alarms) <= 0.01
    assert max(alarms) <= 0.05


def test_a_low_majority_is_no_poison() -> None:
    scores, _ = mixture(1000, 0.7, 0)
    gate = fit_gate(scores)
    assert not gate.found
    assert not gate.suspicion.any()


def test_the_far_upper_tail_is_not_suspicious() -> None:
    scores, truth = mixture(1000, 0.05, 0)
    scores[np.flatnonzero(~truth)[:3]] = 0.69
    assert (fit_gate(scores).suspicion[scores >= 0.69] < 0.5).all()


@pytest.mark.parametrize("value", [0.0, 1e-12, 0.1, 0.69])
@pytest.mark.parametrize("n", [4, 100])
def test_equal_scores_raise_no_alarm(value: float, n: int) -> None:
    gate = fit_gate(np.full(n, value))
    assert not gate.found
    assert gate.suspicion.tolist() == [0] * n


@pytest.mark.parametrize("n", [4, 5, 8])
@pytest.mark.parametrize("seed", range(5))
def test_a_handful_of_scores_gives_finite_values(n: int, seed: int) -> None:
    gate = fit_gate(np.random.default_rng(seed).uniform(0, 0.6, n))
    assert gate.suspicion.shape == (n,)
    assert np.isfinite(gate.suspicion).all()
    assert ((gate.suspicion >= 0) & (gate.suspicion <= 1)).all()


def test_zeros_and_single_precision_are_taken() -> None:
    scores, truth = mixture(600, 0.05, 0)
    scores[truth] = 0
    gate = fit_gate(scores.astype(np.float32))
    assert gate.found
    assert ((gate.suspicion > 0.5) == truth).mean() > 0.99
