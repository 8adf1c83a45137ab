"""How many samples have an answer; every answer of a conversation counts."""

from __future__ import annotations

import numpy as np

from pcvr.auditing.store import ScoreStore


def all_answers(store: ScoreStore) -> tuple[np.ndarray, np.ndarray]:
    """Return the sample and the key of each answer, the first answers of all samples before the later ones."""
    first = store.column("answer")
    assert first is not None
    counts, later = store.column("later_count"), store.column("later_answers")
    rows = np.arange(len(first))
    if counts is None or later is None:  # scored by an earlier version
        return rows, first
    return np.concatenate([rows, np.repeat(rows, counts)]), np.concatenate([first, later])


def repeated(store: ScoreStore) -> tuple[np.ndarray, np.ndarray]:
    """Return of each sample the answer that most samples have, and their number: ``[N]`` each."""
    rows, answers = all_answers(store)
    order = np.lexsort((rows, answers))
    said, of = answers[order], rows[order]
    new = np.append(True, (said[1:] != said[:-1]) | (of[1:] != of[:-1]))  # an answer counts once in a sample
    keys, counts = np.unique(said[new], return_counts=True)
    often = counts[np.searchsorted(keys, answers)]
    order = np.lexsort((-often, rows))  # stable: of equally frequent answers the first one
    _, first = np.unique(rows[order], return_index=True)
    return answers[order][first], often[order][first]
