"""Samples whose inputs the streaming gate keeps for its witnesses."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pcvr.defenses.pcvr.inputs import WORDS


@dataclass
class Kept:
    """Samples whose inputs are kept.

    Attributes:
        index: ``[K]``, their numbers in the data.
        rank: ``[K]``, of their surprise, or of their invariance, when they were last seen.
        images: float16 ``[K, D]``.
        prompts: bool ``[K, WORDS]``.
        labels: ``[K, LABEL]``, tokens, filled up with -1.
    """

    index: np.ndarray
    rank: np.ndarray
    images: np.ndarray
    prompts: np.ndarray
    labels: np.ndarray

    @staticmethod
    def none() -> Kept:
        """Return an empty collection; the first samples give the widths."""
        empty = np.zeros(0)
        return Kept(empty.astype(np.int64), empty, empty[:, None], np.zeros((0, WORDS), bool), empty[:, None])

    def of(self, rows: np.ndarray | Sequence[int]) -> Kept:
        """Return some of them."""
        return Kept(*(value[rows] for value in self._values()))

    def joined(self, more: Kept) -> Kept:
        """Return both; of a sample that both have, the one in `more`."""
        if not len(self.index):
            return more
        old = self.of(~np.isin(self.index, more.index))
        return Kept(*(np.concatenate(pair) for pair in zip(old._values(), more._values(), strict=True)))

    def _values(self) -> tuple[np.ndarray, ...]:
        return self.index, self.rank, self.images, self.prompts, self.labels


def grown(values: np.ndarray, index: np.ndarray, filler: float | bool) -> np.ndarray:
    """Return ``[N]`` values by number, lengthened with `filler` where a number of `index` lies beyond them."""
    missing = int(index.max()) + 1 - len(values) if len(index) else 0
    return np.concatenate([values, np.full(missing, filler, dtype=values.dtype)]) if missing > 0 else values
