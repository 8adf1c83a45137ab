"""Do suspicious labels say the same? One answer to unlike images is what a backdoor wants."""

from __future__ import annotations

import numpy as np

RARE = 0.05
"""Fraction of the others that may have it."""


def one_answer(labels: np.ndarray, others: np.ndarray, stretch: int | None, fraction: float) -> bool:
    """Whether a fraction of the labels share a stretch of tokens that is rare among others; None: the whole label."""
    count = _stretches(labels, stretch)
    if not count:
        return False
    common = max(count, key=lambda each: count[each])
    elsewhere = _stretches(others, stretch).get(common, 0)
    return count[common] >= fraction * len(labels) and elsewhere <= RARE * max(1, len(others))


def _stretches(labels: np.ndarray, stretch: int | None) -> dict[tuple[int, ...], int]:
    """Count in how many labels each stretch of tokens occurs; a shorter label counts as a whole."""
    found: dict[tuple[int, ...], int] = {}
    for row in labels.tolist():
        tokens = [token for token in row if token >= 0]
        long = len(tokens) if stretch is None else min(stretch, len(tokens))
        for each in {tuple(tokens[k : k + long]) for k in range(len(tokens) - long + 1)}:
            found[each] = found.get(each, 0) + 1
    return found
