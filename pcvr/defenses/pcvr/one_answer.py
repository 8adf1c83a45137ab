"""Do suspicious labels say the same? One answer to unlike images is what a backdoor wants."""

from __future__ import annotations

import numpy as np

RARE = 0.05
"""Fraction of the others that may have it."""


def one_answer(labels: np.ndarray, others: np.ndarray, stretch: int | None, fraction: float) -> tuple[int, ...]:
    """Return the stretch of tokens that a fraction of the labels share and that is rare among others; empty if none is.

    Args:
        labels: ``[S, LABEL]``, of suspicious samples, filled up with -1.
        others: ``[O, LABEL]``, of others.
        stretch: tokens of a stretch; a shorter label counts as a whole. None: only whole labels count.
        fraction: of the suspicious labels.
    """
    count = _stretches(labels, stretch)
    if not count:
        return ()
    common = max(count, key=lambda each: count[each])
    elsewhere = _stretches(others, stretch).get(common, 0)
    shared = count[common] >= fraction * len(labels) and elsewhere <= RARE * max(1, len(others))
    return common if shared else ()


def says(labels: np.ndarray, answer: tuple[int, ...]) -> np.ndarray:
    """Return which labels hold a stretch of tokens: ``[B, LABEL]`` -> bool ``[B]``."""
    long = len(answer)
    windows = np.lib.stride_tricks.sliding_window_view(labels, long, axis=1)  # [B, LABEL - long + 1, long]
    return np.asarray((windows == np.array(answer)).all(-1).any(-1))


def _stretches(labels: np.ndarray, stretch: int | None) -> dict[tuple[int, ...], int]:
    """Count in how many labels each stretch of tokens occurs; a shorter label counts as a whole."""
    found: dict[tuple[int, ...], int] = {}
    for row in labels.tolist():
        tokens = [token for token in row if token >= 0]
        long = len(tokens) if stretch is None else min(stretch, len(tokens))
        for each in {tuple(tokens[k : k + long]) for k in range(len(tokens) - long + 1)}:
            found[each] = found.get(each, 0) + 1
    return found
