"""The witness: can suspicious samples be told from others by their inputs?"""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pcvr.defenses.pcvr.witness import PASSED, RIDGE, Witness, hear, ridge, ridge_of_few


def inputs(
    suspicious: int, others: int, shift: float, seed: int = 0, width: int = 300
) -> tuple[np.ndarray, np.ndarray]:
    """Normal rows; those of the first group have a few shifted columns."""
    rng = np.random.default_rng(seed)
    rows = rng.normal(size=(suspicious + others, width)).astype(np.float32)
    rows[:suspicious, :20] += shift
    return rows[:suspicious], rows[suspicious:]


def heard(suspicious: np.ndarray, others: np.ndarray) -> tuple[Witness, np.ndarray]:
    """The witness on one group."""
    rows = np.arange(len(suspicious) + len(others))
    ((witness, hit),) = hear(np.concatenate([suspicious, others]), [rows[: len(suspicious)]], rows[len(suspicious) :])
    return witness, hit


def test_inputs_are_scaled_by_all_rows_and_left_as_they_came() -> None:
    given_ones = np.concatenate(inputs(6, 20, 1.0, width=9000))  # more columns than are taken at a time
    before, rows = given_ones.copy(), np.arange(len(given_ones))
    ((witness, _),) = hear(given_ones, [rows[:6]], rows[6:])
    spread = given_ones.std(0)
    assert np.array_equal(given_ones, before) and np.array_equal(witness.mean, given_ones.mean(0))
    assert np.array_equal(witness.scale, np.maximum(spread, 1e-3 * spread.max() + 1e-9))


@given(seed=st.integers(0, 999), first=st.integers(2, 8), second=st.integers(2, 12), width=st.integers(3, 40))
@settings(max_examples=25, deadline=None)
def test_each_score_is_that_of_a_regression_without_the_sample(seed: int, first: int, second: int, width: int) -> None:
    """Against the definition: leave the sample out, keep the weights of the others, solve, score."""
    rng = np.random.default_rng(seed)
    rows = rng.normal(size=(first + second, width)).astype(np.float32)
    truth = np.arange(first + second) < first
    _, alone = ridge((rows @ rows.T).astype(float) / width, truth)
    weight = len(truth) / (2.0 * np.where(truth, first, second))
    wanted = np.where(truth, 1.0, -1.0)
    for out in range(len(truth)):
        rest = np.arange(len(truth)) != out
        kept, own = rows[rest].astype(float), weight[rest]
        normal = kept.T @ (own[:, None] * kept) / width + RIDGE * np.eye(width)
        solved = np.linalg.solve(normal, kept.T @ (own * wanted[rest]) / width)
        assert alone[out] == pytest.approx(float(rows[out] @ solved), abs=1e-4)


@pytest.mark.parametrize("width", [3, 40, 128])
def test_few_columns_give_what_the_kernel_gives(width: int) -> None:
    rows = np.random.default_rng(width).normal(size=(200, width))
    truth = np.arange(200) < 30
    for one, other in zip(ridge(rows @ rows.T, truth), ridge_of_few(rows, truth), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("suspicious", [12, 40, 150])
def test_a_trigger_is_found(suspicious: int) -> None:
    witness, hit = heard(*inputs(suspicious, 500, 1.5))
    assert witness.convinced and hit.mean() == witness.told_apart > 0.9
    again, fresh = inputs(200, 2000, 1.5, seed=1)
    assert witness.recognises(again).mean() > 0.8
    assert witness.recognises(fresh).mean() < 0.02


def test_a_trigger_in_some_of_the_suspicious_is_found() -> None:
    """Most suspicious samples are only hard."""
    triggered, others = inputs(30, 600, 1.5)
    witness, hit = heard(np.concatenate([triggered, others[:70]]), others[70:])
    assert witness.convinced and hit[:30].mean() > 0.6 and hit[30:].mean() < 0.15


def test_without_a_trigger_nothing_is_found() -> None:
    found = [heard(*inputs(count, 500, 0.0, seed))[0] for count in (8, 60) for seed in range(12)]
    assert not any(witness.convinced for witness in found)
    assert np.mean([witness.told_apart for witness in found]) == pytest.approx(PASSED, abs=0.03)


def test_inputs_that_are_all_alike_say_nothing() -> None:
    witness, hit = heard(np.ones((20, 30), np.float16), np.ones((100, 30), np.float16))
    assert not witness.convinced and not hit.any() and not witness.recognises(np.ones((3, 30))).any()


def test_groups_within_each_other_are_heard_as_if_alone() -> None:
    triggered, others = inputs(40, 300, 1.5)
    rows = np.arange(340)
    all_at_once = hear(np.concatenate([triggered, others]), [rows[:40], rows[:20]], rows[60:])
    assert [witness.suspicious for witness, _ in all_at_once] == [40, 20]
    assert all(witness.convinced and hit.mean() > 0.9 for witness, hit in all_at_once)
