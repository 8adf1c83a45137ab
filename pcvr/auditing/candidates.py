"""Groups of samples that may be poison: the least expected labels, and among them those that say the same."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np

from pcvr.auditing.store import ScoreStore
from pcvr.auditing.surprise import Surprise, ranks
from pcvr.defenses.pcvr.one_answer import says
from pcvr.defenses.pcvr.pools import FEWEST, ORDINARY
from pcvr.defenses.pcvr.verdicts import STRETCH

FRACTIONS = (0.15, 0.05, 0.015, 0.005)
"""Fractions of the samples, those of the highest ranks, that are set against ordinary ones; poison may be any."""
MOST = 192
"""Most samples of a group."""
ANSWERS = 8
"""Most answers that make a group of their own."""
TIMES = 3.0
"""An answer makes a group if it is so many times as frequent among the unexpected labels as among all."""


@dataclass(frozen=True)
class Group:
    """Samples that are set against ordinary ones.

    Attributes:
        source: what proposed it.
        rows: ``[G]``, ascending.
        same: whether they were chosen because their labels say the same.
    """

    source: str
    rows: np.ndarray
    same: bool = False


def groups_of(
    store: ScoreStore, surprise: Surprise, without: np.ndarray | None = None
) -> tuple[list[Group], np.ndarray]:
    """Return the groups, and the ordinary samples ``[O]``: those that nothing makes suspicious.

    Args:
        store: the scores.
        surprise: of all labels.
        without: bool ``[N]``, samples that are left out.
    """
    there = np.ones(store.count, dtype=bool) if without is None else ~without
    pools = {"surprise": surprise.rank}
    if (invariance := store.column("invariance")) is not None:
        pools["invariance"] = ranks(-invariance)
    before, after = store.column("nll"), store.column("nll_after")
    if before is not None and after is not None:
        pools["loss drop"] = ranks(before - after)
    ordinary = there.copy()
    groups: list[Group] = []
    for source, rank in pools.items():
        ordinary &= rank < ORDINARY
        for fraction in FRACTIONS:
            rows = np.flatnonzero(there & (rank >= 1 - fraction))
            if len(rows) >= FEWEST:
                groups.append(Group(source, _some(rows, rank)))
    for rows, name in _same_answers(store, surprise, there):
        groups.append(Group(name, _some(rows, surprise.rank), same=True))
    return groups, np.flatnonzero(ordinary)


def _some(rows: np.ndarray, rank: np.ndarray) -> np.ndarray:
    """Return at most `MOST` of the rows, those of the highest ranks."""
    if len(rows) <= MOST:
        return rows
    return np.sort(rows[np.argsort(-rank[rows], kind="stable")[:MOST]])


def _same_answers(store: ScoreStore, surprise: Surprise, there: np.ndarray) -> list[tuple[np.ndarray, str]]:
    """Return samples whose unexpected labels share a stretch that is rarer elsewhere, the most frequent first."""
    suspicious = there & (surprise.rank >= 1 - FRACTIONS[0])
    some: Counter[tuple[int, ...]] = Counter()
    every: Counter[tuple[int, ...]] = Counter()
    for rows, columns in store.each("label_tokens"):
        for label in columns["label_tokens"][suspicious[rows]]:
            some.update(stretches_of(label))
    for rows, columns in store.each("label_tokens"):  # again, since most of them lie before the first suspicious one
        for label in columns["label_tokens"][there[rows]]:
            every.update(each for each in stretches_of(label) if each in some)
    total, chosen = max(1, int(there.sum())), max(1, int(suspicious.sum()))
    best = [
        (count, stretch)
        for stretch, count in some.most_common(400)
        if count >= FEWEST and count / chosen >= TIMES * every[stretch] / total
    ]
    taken: list[tuple[np.ndarray, str]] = []
    covered = np.zeros(store.count, dtype=bool)
    for _, stretch in best:
        if len(taken) == ANSWERS:
            break
        rows = np.concatenate(
            [
                numbers[suspicious[numbers] & says(columns["label_tokens"], (stretch,))]
                for numbers, columns in store.each("label_tokens")
            ]
        )
        if len(rows) < FEWEST or covered[rows].mean() > 0.5:
            continue
        covered[rows] = True
        taken.append((rows, "the same answer"))
    return taken


def stretches_of(label: np.ndarray) -> set[tuple[int, ...]]:
    """Return the stretches of `STRETCH` tokens of a label, or the label as a whole if it is shorter."""
    tokens = label[label >= 0].tolist()
    long = min(STRETCH, len(tokens))
    return {tuple(tokens[k : k + long]) for k in range(len(tokens) - long + 1)} if tokens else set()
