"""Exercise: the AUROC of a low score, from pairs or from ranks; ties count one half."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from pcvr.teaching.compare import as_array, expect, same
from pcvr.teaching.core import Mistake, ask, exercise

_CALL = "auroc(clean, suspect)"

Known = dict[str, np.ndarray]


@exercise("AUROC of a low score, ties count half")
def auroc(function: Callable[[Any, Any], Any]) -> str:
    """Check ``auroc(clean, suspect)``: scores ``[N]``, ``[M]`` -> P(a suspect scores below a clean sample)."""
    rng = np.random.default_rng(4)
    # Multiples of 1/2, so that ties are exact; groups of different sizes, so that a wrong denominator is visible.
    clean, suspect = rng.integers(2, 12, 23) / 2, rng.integers(0, 9, 8) / 2
    for one, other, where in (
        (clean, suspect, ""),
        (np.array([3.0, 1.0, 2.0]), np.array([2.0]), " of scores [3, 1, 2] and [2]"),
        (np.ones(4), np.ones(3), " of scores that are all equal"),
        (np.array([0.5, 0.7]), np.array([0.1, 0.2, 0.3]), " of two groups that do not overlap"),
    ):
        call = _CALL + where
        got = as_array(ask(function, one.copy(), other.copy(), call=call), call)
        expect(got, np.array(_pairs(one, other, 0.5)), call, "a single number", _mistakes(one, other))
    shuffled = as_array(ask(function, rng.permutation(clean), rng.permutation(suspect), call=_CALL), _CALL)
    if not same(shuffled.reshape(()), np.array(_pairs(clean, suspect, 0.5))):
        raise Mistake(
            "Another order of the same scores gives another value: sort the scores first, or compare every pair."
        )
    return "Ties count too. The value is 1 if every suspect is below every clean score, 1/2 if nothing separates them."


def _pairs(clean: np.ndarray, suspect: np.ndarray, tie: float) -> float:
    below = (suspect[:, None] < clean[None]).mean()
    level = (suspect[:, None] == clean[None]).mean()
    return float(below + tie * level)


def _mistakes(clean: np.ndarray, suspect: np.ndarray) -> Known:
    n, m = len(clean), len(suspect)
    right = _pairs(clean, suspect, 0.5)
    strict, loose = _pairs(clean, suspect, 0.0), _pairs(clean, suspect, 1.0)
    both = np.concatenate([clean, suspect])
    middle = np.array([(both < s).sum() + ((both == s).sum() + 1) / 2 for s in suspect])  # mid-ranks from 1 up
    first = np.array([(both < s).sum() + 1 for s in suspect])
    half, ranked = "count the pair as one half", "(With ranks: give equal scores the mean of their ranks.)"
    wrong = {
        "This is the probability that a suspect scores *above* a clean sample: here a low score is suspicious.": 1
        - right,
        f"Ties are left out: if a suspect and a clean score are equal, {half}. {ranked}": strict,
        f"Ties count as one (<= instead of <): if two scores are equal, {half}. {ranked}": loose,
        f"This counts suspects above and leaves ties out: a low score is suspicious, and for a tie {half}.": 1 - loose,
        f"This counts suspects above and a tie as one: a low score is suspicious, and for a tie {half}.": 1 - strict,
        "This is the number of pairs, not the fraction of pairs: divide by N times M.": right * n * m,
        "This is divided by M alone: there are N times M pairs.": right * n,
        "This is divided by N alone: there are N times M pairs.": right * m,
        "The lowest possible sum of ranks is not subtracted: subtract M (M + 1) / 2.": 1 - middle.sum() / (n * m),
        "Equal scores get the lowest rank of their group here: give each of them the mean of the ranks.": (
            1 - (first.sum() - m * (m + 1) / 2) / (n * m)
        ),
        "This compares every suspect with the mean of the clean scores: compare it with each of them.": (
            (suspect < clean.mean()).mean()
        ),
        "This compares the means of both groups: compare every suspect with every clean score.": (
            suspect.mean() < clean.mean()
        ),
    }
    return {message: np.array(value, dtype=float) for message, value in wrong.items() if not np.isclose(value, right)}
