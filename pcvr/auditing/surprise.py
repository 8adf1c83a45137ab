"""How unexpected each label is among all labels: its least expected stretch, and what the image says to it.

The same two measures as in `pcvr.defenses.pcvr.surprise`, of all samples at once, since the model stands still here.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pcvr.auditing.store import ScoreStore
from pcvr.defenses.pcvr.surprise import DOUBTED


@dataclass(frozen=True)
class Surprise:
    """What was found about N labels.

    Attributes:
        rank: ``[N]`` in ``[0, 1]``, 1 the least expected.
        support: ``[N]``, nats by which the image makes the least expected stretch likelier than another image does.
    """

    rank: np.ndarray
    support: np.ndarray


def surprise_of(store: ScoreStore) -> Surprise:
    """Rank all labels; two passes over the shards."""
    nll = store.column("nll")
    assert nll is not None
    usual = float(np.median(nll))
    own = _usual_of_tokens(store, usual)
    spans, excesses = np.zeros(store.count), np.zeros(store.count)
    support = np.zeros(store.count)
    for rows, columns in store.each("label_tokens", "token_nll", "token_other"):
        tokens, nlls = columns["label_tokens"], columns["token_nll"].astype(np.float64)
        there = tokens >= 0
        gain = np.where(there, columns["token_other"] - nlls, 0.0)
        span, start, end = stretches(np.where(there, nlls - usual, 0.0))
        excess, begin, stop = stretches(np.where(there, nlls - _looked_up(own, tokens, usual), 0.0))
        spans[rows], excesses[rows] = span, excess
        by_excess = excess > span
        support[rows] = _within(gain, np.where(by_excess, begin, start), np.where(by_excess, stop, end))
    higher = np.maximum(ranks(spans), ranks(excesses))
    rank = ranks(higher)
    return Surprise(np.where((spans > 0) | (excesses > 0), rank, np.minimum(rank, 0.5)), support)


def stretches(values: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Find the stretch of each row with the largest sum.

    Args:
        values: ``[B, T]``.

    Returns:
        ``[B]`` each: the sum, 0 or more; the first place of the stretch, and the place behind its last.
    """
    sums = np.concatenate([np.zeros((len(values), 1)), np.cumsum(values, 1)], 1)  # [B, T + 1]
    lowest = np.minimum.accumulate(sums, 1)
    end = (sums - lowest).argmax(1)
    row = np.arange(len(values))
    before = np.where(np.arange(sums.shape[1]) <= end[:, None], sums, np.inf)
    return (sums - lowest)[row, end], before.argmin(1), end


def ranks(values: np.ndarray) -> np.ndarray:
    """Return the rank of each of ``[N]`` values among all, in ``(0, 1)``; equal values share the middle rank."""
    from scipy.stats import rankdata

    return np.asarray((rankdata(values) - 0.5) / max(1, len(values)))


def _usual_of_tokens(store: ScoreStore, usual: float) -> tuple[np.ndarray, np.ndarray]:
    """Return the tokens that the labels have, ascending, and the usual surprise of each, nats."""
    known: np.ndarray = np.zeros(0, np.int64)
    uses: np.ndarray = np.zeros(0)
    total: np.ndarray = np.zeros(0)
    for _, columns in store.each("label_tokens", "token_nll"):
        there = columns["label_tokens"] >= 0
        token = columns["label_tokens"][there].astype(np.int64)
        merged, at = np.unique(np.concatenate([known, token]), return_inverse=True)
        uses = np.bincount(at, weights=np.concatenate([uses, np.ones(len(token))]), minlength=len(merged))
        values = np.concatenate([total, columns["token_nll"][there].astype(np.float64)])
        total, known = np.bincount(at, weights=values, minlength=len(merged)), merged
    return known, (total + DOUBTED * usual) / (uses + DOUBTED)


def _looked_up(own: tuple[np.ndarray, np.ndarray], tokens: np.ndarray, usual: float) -> np.ndarray:
    known, values = own
    if not len(known):
        return np.full(tokens.shape, usual)
    return np.asarray(values[np.clip(np.searchsorted(known, tokens), 0, len(known) - 1)])


def _within(values: np.ndarray, start: np.ndarray, end: np.ndarray) -> np.ndarray:
    place = np.arange(values.shape[1])
    return np.asarray(np.where((place >= start[:, None]) & (place < end[:, None]), values, 0.0).sum(1))
