"""The gate on scores whose truth is known."""

from __future__ import annotations

import numpy as np
import pytest

from pcvr import PCVR
from pcvr.defenses.pcvr.gate import CERTAIN, FEW, Gate, doubts, fit_gate


def mixture(
    n: int, fraction: float, seed: int, low: float = 0.004, high: float = 0.12
) -> tuple[np.ndarray, np.ndarray]:
    """``(scores [N], truth [N])``: log-normal divergences around `high`, and a fraction of them around `low`, nats."""
    rng = np.random.default_rng(seed)
    truth = np.zeros(n, dtype=bool)
    truth[rng.permutation(n)[: round(fraction * n)]] = True
    return np.exp(rng.normal(np.log(np.where(truth, low, high)), 0.45)), truth


@pytest.mark.parametrize("fraction", [0.01, 0.02, 0.05, 0.1])
@pytest.mark.parametrize("seed", range(3))
def test_a_low_cluster_is_found(fraction: float, seed: int) -> None:
    scores, truth = mixture(2000, fraction, seed)
    gate = fit_gate(scores)
    flagged = gate.suspicion > 0.5
    assert gate.found
    assert gate.suspicion.shape == (2000,)
    assert gate.suspicion.min() >= 0
    assert gate.suspicion.max() <= 1
    assert flagged[truth].mean() >= 0.95
    assert flagged[~truth].mean() <= 0.01
    assert gate.fraction == pytest.approx(fraction, abs=0.01)


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


def told(scores: np.ndarray, step: int = 5) -> tuple[str, ...]:
    return doubts([{"step": step, "gate": fit_gate(scores)}], first=2)


def heap(n: int, seed: int) -> np.ndarray:
    return np.exp(np.random.default_rng(seed).normal(np.log(0.1), 0.45, n))


class TestDoubts:
    @pytest.mark.parametrize("n", [FEW, 2000])
    @pytest.mark.parametrize("fraction", [0.02, 0.05, 0.2])
    def test_a_group_that_stands_apart_is_beyond_doubt(self, n: int, fraction: float) -> None:
        for seed in range(3):
            assert told(mixture(n, fraction, seed)[0]) == ()

    def test_the_certainty_is_the_share_of_the_flagged_that_are_rightly_so(self) -> None:
        for low in (0.02, 0.03):
            scores, truth = mixture(5000, 0.1, 0, low)
            gate = fit_gate(scores)
            assert gate.flagged.sum() > 100
            assert gate.certainty == pytest.approx(truth[gate.flagged].mean(), abs=0.1)

    @pytest.mark.parametrize("seed", range(5))
    def test_heaps_that_overlap(self, seed: int) -> None:
        gate = fit_gate(mixture(2000, 0.1, seed, low=0.05)[0])
        assert gate.found and gate.certainty < CERTAIN
        (note,) = told(mixture(2000, 0.1, seed, low=0.05)[0])
        assert "overlap at step 5" in note and f"of {gate.flagged.sum()} flagged" in note

    @pytest.mark.parametrize("seed", range(20))
    def test_of_one_heap_hardly_any_sample_is_flagged_and_never_with_certainty(self, seed: int) -> None:
        scores = heap(1000, seed)
        (note,) = told(scores)
        assert "no sample was held back: that is correct if none is poisoned" in note or "overlap" in note
        assert fit_gate(scores).flagged.mean() <= 0.05

    @pytest.mark.parametrize("n", [4, 50, FEW - 1])
    def test_few_scores(self, n: int) -> None:
        scores, _ = mixture(n, 0.25, 0)
        assert f"few scores ({n})" in told(scores)[0] and f"fewer than {FEW}" in told(scores)[0]

    def test_the_bound_is_where_one_heap_no_longer_passes_for_two(self) -> None:
        """The simulation behind `FEW`, with fewer draws."""
        sure = {n: sum(sure_of_some(heap(n, seed)) for seed in range(60)) for n in (20, FEW)}
        assert sure[FEW] <= 1 < 6 <= sure[20]

    @pytest.mark.parametrize(("step", "said"), [(0, True), (1, True), (2, False)])
    def test_a_look_before_any_training(self, step: int, said: bool) -> None:
        notes = told(mixture(500, 0.05, 0)[0], step)
        assert [f"before any training (step {step})" in note for note in notes] == [True] * said

    def test_the_least_certain_look_counts_since_what_it_flags_stays_flagged(self) -> None:
        sure, unsure = (Gate(np.array([p] * 9 + [0.0] * 300), 4.0, 0.03, True) for p in (0.99, 0.7))
        scans = [{"step": 5, "gate": unsure}, {"step": 50, "gate": sure}]
        (note,) = doubts(scans, first=2)
        assert "at step 5: of 9 flagged samples, at least 30 % are false positives" in note
        assert doubts(scans[1:], first=2) == ()

    def test_no_look_and_equal_scores(self) -> None:
        assert "made no scan" in doubts([], first=2)[0]
        assert "no sample was held back" in told(np.full(500, 0.1))[0]


def sure_of_some(scores: np.ndarray) -> bool:
    gate = fit_gate(scores)
    return bool(gate.flagged.any() and gate.certainty >= CERTAIN)


def test_no_look_comes_before_training_has_changed_the_model() -> None:
    scans = {steps: PCVR(gate="two_stage").scan_steps(steps) for steps in (1, 2, 3, 40, 119, 120, 200, 400, 2000)}
    assert scans == {1: [0], 2: [1], 3: [2], 40: [2], 119: [2], 120: [2], 200: [2], 400: [5], 2000: [25]}
    assert PCVR(gate="two_stage", scan_at=(0.01, 0.02, 0.5)).scan_steps(40) == [2, 20]
