"""Exercise: the threshold of a gate, chosen on clean samples alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from pcvr.teaching.compare import as_array
from pcvr.teaching.core import Mistake, ask, exercise

_Rule = Callable[[np.ndarray, float], float]
_CALL = "choose_threshold(clean, budget={})"
_BUDGETS = (0.05, 0.1, 0.0, 0.015)


@exercise("a threshold within a budget of false alarms")
def choose_threshold(choose: Callable[[Any, float], Any]) -> str:
    """Check ``choose_threshold(clean, budget)``: the highest threshold that flags at most `budget` of clean samples.

    A score below the threshold is flagged. Every threshold that flags the same clean samples is as good, up to the
    next clean score.
    """
    rng = np.random.default_rng(5)
    cases = [(rng.gamma(2.0, 1.0, 200), budget) for budget in _BUDGETS]
    cases += [(np.array([0.0, 0.0, 0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0]), 0.2)]  # three ties, and two may go
    found = []
    for clean, budget in cases:
        call = _CALL.format(f"{budget:g}")
        value = as_array(ask(choose, clean.copy(), budget, call=call), call)
        if value.size != 1 or np.isnan(value).any():
            raise Mistake(f"{call} returns {value.tolist()}, but one threshold, a number, is expected.")
        found.append(float(value.reshape(())))
    flags = [int((clean < t).sum()) for (clean, _), t in zip(cases, found, strict=True)]
    due = [_most(clean, budget) for clean, budget in cases]
    if flags == due:
        return "You know the false alarms beforehand. How much poison lies below the threshold, nobody can tell you."
    for message, rule in _MISTAKES.items():
        if flags == [int((clean < rule(clean, budget)).sum()) for clean, budget in cases]:
            raise Mistake(message)
    k = next(k for k, (mine, want) in enumerate(zip(flags, due, strict=True)) if mine != want)
    clean, budget = cases[k]
    ties = ", three of which are equal" if k == len(cases) - 1 else ""
    side = "too many" if flags[k] > due[k] else "fewer than it could"
    raise Mistake(
        f"{_CALL.format(f'{budget:g}')} of {len(clean)} clean scores{ties} returns {found[k]:.4g}. It flags {flags[k]} "
        f"of them, {side}: {due[k]} is expected."
    )


def _most(clean: np.ndarray, budget: float) -> int:
    """The greatest number of clean samples that a threshold can flag within the budget."""
    return max(int((clean < t).sum()) for t in _candidates(clean) if (clean < t).mean() <= budget + 1e-12)


def _candidates(clean: np.ndarray) -> np.ndarray:
    return np.append(np.unique(clean), clean.max() + 1)


def _quantile(clean: np.ndarray, budget: float) -> float:
    return float(np.quantile(clean, budget))


_MISTAKES: dict[str, _Rule] = {
    "This flags the samples with *high* scores: a low score is suspicious, so flag the lowest ones.": (
        lambda clean, budget: _quantile(clean, 1 - budget)
    ),
    "The budget is in per cent here: it is a fraction, so 0.05 is five in a hundred.": (
        lambda clean, budget: _quantile(clean, budget / 100)
    ),
    "One sample more than the budget is flagged: a threshold *at* the next score flags only those below it.": (
        lambda clean, budget: float(np.nextafter(np.sort(clean)[int(budget * len(clean) + 1e-9)], np.inf))
    ),
    "This flags nothing at all. The budget is a fraction of the samples: 0.05 is five in a hundred.": (
        lambda clean, budget: float(clean.min())
    ),
    "The budget is ignored: this flags every clean sample.": lambda clean, budget: float(clean.max() + 1),
}
