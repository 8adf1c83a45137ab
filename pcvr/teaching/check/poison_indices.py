"""Exercise: choose which samples of a data set to poison."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from pcvr.teaching.core import Mistake, ask, exercise

# (n, rate): in the last three, rate * n is not an integer, so that rounding down or up is visible.
_CASES = ((1000, 0.05), (40, 0.5), (12, 1.0), (190, 0.05), (37, 0.1), (33, 0.1))
_SEEDS = (0, 1, 2)
_GAPS = 3
"""So few different distances between 50 chosen of 1000 indices have a plan behind them: a block, or every k-th."""


@exercise("choose which samples to poison")
def poison_indices(choose: Callable[[int, float, int], Any]) -> str:
    """Check ``choose(n, rate, seed)``: ``round(rate * n)`` distinct indices in ``[0, n)``, sorted, set by the seed."""
    drawn: dict[tuple[int, float, int], np.ndarray] = {}
    for n, rate in _CASES:
        for seed in _SEEDS:
            call = f"choose({n}, {rate}, {seed})"
            drawn[n, rate, seed] = _indices(ask(choose, n, rate, seed, call=call), n, call)
    _count(drawn)
    for (n, rate, seed), chosen in drawn.items():
        _content(chosen, n, f"choose({n}, {rate}, {seed})")
    _randomness(choose, drawn)
    return "The number is exact, no index repeats, they are sorted, and the same seed always gives the same indices."


def _indices(value: Any, n: int, call: str) -> np.ndarray:
    if hasattr(value, "detach"):
        value = value.detach().cpu().numpy()
    try:
        array = np.asarray(value)
    except ValueError:
        array = np.asarray(None)
    if array.dtype == object or array.dtype.kind in "US":
        raise Mistake(f"{call} returns a {type(value).__name__}, but an array of indices is expected.")
    if array.ndim != 1:
        raise Mistake(
            f"{call} returns an array of shape {list(array.shape)}, but one row of indices, [K], is expected."
        )
    if array.dtype == bool:
        raise Mistake(f"{call} returns a mask of True and False: turn it into indices with np.flatnonzero.")
    if array.size and array.dtype.kind not in "iu":
        if array.size == n and ((array >= 0) & (array < 1)).all():
            raise Mistake(f"{call} returns random numbers between 0 and 1, but indices of samples are expected.")
        raise Mistake(f"{call} returns numbers of type {array.dtype}, but indices must be integers.")
    return array


def _count(drawn: dict[tuple[int, float, int], np.ndarray]) -> None:
    want = {key: round(key[1] * key[0]) for key in drawn}
    wrong = {key: len(chosen) for key, chosen in drawn.items() if len(chosen) != want[key]}
    if not wrong:
        return
    (n, rate, seed), got = next(iter(wrong.items()))
    due = want[n, rate, seed]
    fact = f"choose({n}, {rate}, {seed}) returns {got} indices, but round({rate} * {n}) = {due} are expected"
    if all(len(drawn[key]) == int(key[1] * key[0]) for key in drawn):
        raise Mistake(f"{fact}: int() cuts off the decimals, so use round().")
    if all(len(drawn[key]) == int(np.ceil(key[1] * key[0])) for key in drawn):
        raise Mistake(f"{fact}: yours is rounded up, so use round().")
    if all(len(drawn[n, rate, seed]) == n for n, rate, seed in drawn):
        raise Mistake(f"{fact}: this is every sample, so the rate is not used.")
    if all(len(drawn[n, rate, seed]) == n - want[n, rate, seed] for n, rate, seed in drawn):
        raise Mistake(f"{fact}: these are the samples that stay clean, so return the others.")
    if all(len(chosen) == len(set(chosen.tolist())) <= want[key] for key, chosen in drawn.items()):
        raise Mistake(f"{fact}. If you remove duplicates after the draw, too few are left: draw without repetition.")
    if any(len({len(drawn[n, rate, seed]) for seed in _SEEDS}) > 1 for n, rate in _CASES):
        raise Mistake(
            f"{fact}. The number changes with the seed: do not toss a coin for each sample, draw an exact number."
        )
    raise Mistake(f"{fact}.")


def _content(chosen: np.ndarray, n: int, call: str) -> None:
    if chosen.min() < 0 or chosen.max() >= n:
        outside = int(chosen.max()) if chosen.max() >= n else int(chosen.min())
        raise Mistake(f"{call} returns the index {outside}, but the samples are numbered 0 to {n - 1}.")
    distinct = len(np.unique(chosen))
    if distinct < len(chosen):
        raise Mistake(
            f"{call} returns {len(chosen)} indices, but only {distinct} of them are distinct: "
            "draw without repetition (replace=False), because a sample that is drawn twice is poisoned only once."
        )
    if (np.diff(chosen) < 0).any():
        raise Mistake(f"{call} is not sorted: sort the indices before you return them.")


def _randomness(choose: Callable[[int, float, int], Any], drawn: dict[tuple[int, float, int], np.ndarray]) -> None:
    n, rate = _CASES[0]
    first = drawn[n, rate, 0]
    call = f"choose({n}, {rate}, 0)"
    again = np.asarray(ask(choose, n, rate, 0, call=call))
    if not np.array_equal(first, again):
        raise Mistake(
            f"{call} returns other indices when it is called again: create np.random.default_rng(seed) inside the "
            "function and draw from it."
        )
    if np.array_equal(first, np.arange(len(first))):
        raise Mistake(f"{call} takes the first {len(first)} samples: the choice must be random and depend on the seed.")
    if all(len(np.unique(np.diff(drawn[n, rate, seed]))) <= _GAPS for seed in _SEEDS):
        raise Mistake(
            f"{call} returns neighbours, or numbers at equal distances: draw each index by itself. Data are often "
            "sorted, so a block of neighbours is no random sample."
        )
    if all(np.array_equal(first, drawn[n, rate, seed]) for seed in _SEEDS):
        raise Mistake(
            f"choose({n}, {rate}, seed) returns the same for every seed: pass the seed to the random generator."
        )
