"""Do suspicious labels say the same? One answer to unlike images, or a few by turns, is what a backdoor wants."""

from __future__ import annotations

import numpy as np

Answers = tuple[tuple[int, ...], ...]
"""Stretches of tokens."""

RARE = 0.05
"""Fraction of the others that may have an answer."""
FEW = 6
"""Most answers by turns."""
EACH = 0.08
"""Least fraction of the suspicious labels that has each of them."""


def one_answer(labels: np.ndarray, others: np.ndarray, stretch: int | None, fraction: float) -> Answers:
    """Return the stretch of tokens that a fraction of the labels share and that is rare among others, or none.

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
    rare = _stretches(others, stretch).get(common, 0) <= RARE * max(1, len(others))
    return (common,) if rare and count[common] >= fraction * len(labels) else ()


def few_answers(labels: np.ndarray, others: np.ndarray, stretch: int, fraction: float) -> Answers:
    """Return up to `FEW` stretches, each rare among others, that a fraction of the labels has one of; or none.

    Args:
        labels: ``[S, LABEL]``, of suspicious samples, filled up with -1.
        others: ``[O, LABEL]``, of others.
        stretch: tokens of a stretch; a shorter label counts as a whole.
        fraction: of the suspicious labels.
    """
    found: list[tuple[int, ...]] = []
    elsewhere, left = _stretches(others, stretch), labels
    while len(left) and len(found) < FEW:
        count = {
            each: n for each, n in _stretches(left, stretch).items() if elsewhere.get(each, 0) <= RARE * len(others)
        }
        common = max(count, key=lambda each: count[each], default=())
        if count.get(common, 0) < EACH * len(labels):
            break
        found.append(common)
        left = left[~says(left, (common,))]
    return tuple(found) if len(left) <= (1 - fraction) * len(labels) else ()


def says(labels: np.ndarray, answers: Answers) -> np.ndarray:
    """Return which labels hold one of the stretches: ``[B, LABEL]`` -> bool ``[B]``."""
    found = np.zeros(len(labels), dtype=bool)
    for answer in answers:
        windows = np.lib.stride_tricks.sliding_window_view(labels, len(answer), axis=1)  # [B, LABEL - long + 1, long]
        found |= (windows == np.array(answer)).all(-1).any(-1)
    return found


def _stretches(rows: np.ndarray, stretch: int | None) -> dict[tuple[int, ...], int]:
    """Count in how many labels each stretch of tokens occurs; a shorter label counts as a whole."""
    found: dict[tuple[int, ...], int] = {}
    for row in rows.tolist():
        tokens = [token for token in row if token >= 0]
        long = len(tokens) if stretch is None else min(stretch, len(tokens))
        for each in {tuple(tokens[k : k + long]) for k in range(len(tokens) - long + 1)}:
            found[each] = found.get(each, 0) + 1
    return found
