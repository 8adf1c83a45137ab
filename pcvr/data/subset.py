"""A part of a data set, still a data set."""

from __future__ import annotations

import hashlib
import operator
from collections.abc import Sequence

import numpy as np

from pcvr.data.report import Report
from pcvr.data.sample import Dataset, Sample
from pcvr.errors import PcvrError, shown
from pcvr.utils.checks import check_seed, is_whole


def position(index: int, length: int) -> int:
    """``index`` counted from the start (negative ones count from the end, as in a list).

    Raises:
        IndexError: outside ``-length .. length - 1``; this also ends a ``for`` loop over a data set.
    """
    place = operator.index(index)
    if not -length <= place < length:
        raise IndexError(f"index {place} is outside a data set of {length} samples")
    return place % length


class Subset:
    """The samples of a data set at given indices, in the order given; nothing is read until asked for."""

    def __init__(self, dataset: Dataset, indices: Sequence[int], label: str = "subset") -> None:
        """
        Args:
            dataset: where the samples come from.
            indices: which of them; each in ``0 .. len(dataset) - 1``.
            label: what stands behind the colon in the name.
        """
        n = len(dataset)
        outside = [int(index) for index in indices if not 0 <= index < n]
        if outside:
            raise PcvrError(f"subset indices {outside[:10]} are outside a data set of {n} samples: use 0 to {n - 1}.")
        self.dataset = dataset
        self.indices = tuple(int(index) for index in indices)
        self.label = label

    @property
    def name(self) -> str:
        return f"{self.dataset.name}:{self.label}"

    @property
    def task(self) -> str:
        return self.dataset.task

    @property
    def report(self) -> Report | None:
        """What was wrong with the data of which this is a part, where they were read with ``skip_bad=True``."""
        return getattr(self.dataset, "report", None)

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, index: int, /) -> Sample:
        return self.dataset[self.indices[position(index, len(self.indices))]]

    def fingerprint(self) -> str:
        digest = hashlib.sha256(self.dataset.fingerprint().encode())
        digest.update(np.asarray(self.indices, dtype=np.int64).tobytes())
        return digest.hexdigest()[:16]


def subset(dataset: Dataset, n: int, seed: int = 0) -> Subset:
    """``n`` samples drawn without replacement, in their original order; the same ones for the same seed.

    Raises:
        PcvrError: when ``n`` is not between 1 and the size of the data set.
    """
    check_seed(seed)
    if not is_whole(n) or not 1 <= n <= len(dataset):
        most = len(dataset)
        raise PcvrError(f"n={shown(n)} samples asked of {shown(dataset.name)}, which has {most}: give 1 to {most}.")
    drawn = np.random.default_rng(seed).permutation(len(dataset))[:n]
    return Subset(dataset, sorted(drawn.tolist()), label=f"{n}")


def shared(one: Dataset, other: Dataset) -> int:
    """How many samples two parts of the same data have in common; 0 where they come from different data."""
    (root, these), (other_root, those) = _traced(one), _traced(other)
    return len(these & those) if root.fingerprint() == other_root.fingerprint() else 0


def _traced(dataset: Dataset) -> tuple[Dataset, set[int]]:
    """The data set at the bottom, and the indices in it."""
    indices: Sequence[int] = range(len(dataset))
    while isinstance(dataset, Subset):
        indices = [dataset.indices[index] for index in indices]
        dataset = dataset.dataset
    return dataset, set(indices)
