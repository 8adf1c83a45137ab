"""The checks of notebook 08: right answers pass, and every typical mistake is named."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from scipy.special import xlogy

from pcvr.analysis.attention_spread import entropy_bound
from pcvr.teaching import check


def angles(
    received: np.ndarray,
    benign: np.ndarray,
    k: int,
    side: Callable[[np.ndarray, int], np.ndarray] = lambda m, k: np.linalg.svd(m)[2][:k],
) -> np.ndarray:
    cosines = np.linalg.svd(side(received, k) @ side(benign, k).T, compute_uv=False)
    return np.asarray(np.rad2deg(np.arccos(np.clip(cosines, 0, 1))))


def unclipped(received: np.ndarray, benign: np.ndarray, k: int) -> np.ndarray:
    with np.errstate(invalid="ignore"):
        mine, theirs = np.linalg.svd(received)[2][:k], np.linalg.svd(benign)[2][:k]
        cosines = np.linalg.svd(mine @ theirs.T, compute_uv=False)
        return np.asarray(
            np.rad2deg(np.arccos(cosines + 1e-9 * (received is not benign and (received == benign).all())))
        )


def pairwise(received: np.ndarray, benign: np.ndarray, k: int) -> np.ndarray:
    mine, theirs = np.linalg.svd(received)[2][:k], np.linalg.svd(benign)[2][:k]
    return np.asarray(np.rad2deg(np.arccos(np.clip(np.abs((mine * theirs).sum(1)), 0, 1))))


def test_correct_angles_pass() -> None:
    assert check.principal_angles(angles), check.principal_angles(angles)


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (lambda *given: np.deg2rad(angles(*given)), "in radians"),
        (lambda *given: np.cos(np.deg2rad(angles(*given))), "the cosines"),
        (lambda *given: angles(*given)[::-1], "ascending order"),
        (lambda *given: 90 - angles(*given), "use arccos"),
        (lambda *given: np.sort(pairwise(*given)), "pair by pair"),
        (pairwise, "pair by pair"),
        (lambda a, b, k: angles(a, b, k, lambda m, k: np.linalg.svd(m.T)[2][:k]), "left singular vectors"),
        (lambda a, b, k: angles(a, b, 12), "take the first k"),
        (lambda a, b, k: angles(a, b, k, lambda m, k: np.linalg.svd(m)[2][:, :k].T), "V transposed"),
        (unclipped, "Clip to"),
    ],
)
def test_mistakes_of_angles(wrong: Callable[..., np.ndarray], words: str) -> None:
    found = check.principal_angles(wrong)
    assert found.status == "mistake" and words in found.message


def bound(share: float, on: int, tokens: int, pair: float = 1.0) -> float:
    split = -xlogy(share, share) - xlogy(1 - share, 1 - share)
    return float((pair * split + share * np.log(on) + (1 - share) * np.log(tokens - on)) / np.log(tokens))


def split_by_hand(share: float, on: int, tokens: int) -> float:
    with np.errstate(all="ignore"):
        return bound(share, on, tokens) + float(0 * np.log(np.float64(share)) + 0 * np.log(np.float64(1 - share)))


def test_a_correct_bound_passes() -> None:
    assert check.entropy_bound(bound) and check.entropy_bound(entropy_bound)
    assert check.entropy_bound(lambda *given: [bound(*given)])


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (lambda s, m, i: bound(s, m, i) * np.log(i), "in nats"),
        (lambda s, m, i: bound(s, m, i) / np.log(2), "in bits"),
        (lambda s, m, i: bound(s, m, i, pair=0.0), "split itself"),
        (lambda s, m, i: bound(s, m, i) - (1 - s) * np.log(i - m) / np.log(i), "Only the tokens of the trigger"),
        (lambda s, m, i: bound(1 - s, m, i), "wrong side"),
        (lambda s, m, i: bound(s, m, i) + (1 - s) * (1 - np.log(i - m) / np.log(i)), "own are not among them"),
        (lambda s, m, i: -bound(s, m, i), "sign is wrong"),
        (split_by_hand, "0 ln 0 counts as 0"),
    ],
)
def test_mistakes_of_the_bound(wrong: Callable[..., float], words: str) -> None:
    found = check.entropy_bound(wrong)
    assert found.status == "mistake" and words in found.message


def test_stubs() -> None:
    assert check.entropy_bound(lambda *_: ...).status == "not done"
    assert check.principal_angles(lambda *_: None).status == "not done"
