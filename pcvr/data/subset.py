"""A part of a data set, as a data set."""

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
    """Return ``index`` counted from the start; negative ones count from the end, as in a list.

    Raises:
        IndexError: outside ``-length .. length - 1``; this also ends a ``for`` loop over a data set.
    """
    place = operator.index(index)
    if not -length <= place < length:
        raise IndexError(f"index {place} is outside a data set of {length} samples")
    return place % length


class Subset:
    """The samples of a data set at given indices, in that order, read on access."""

    def __init__(self, dataset: Dataset, indices: Sequence[int], label: str = "subset") -> None:
        """
        Args:
            dataset: the data set.
            indices: indices in ``0 .. len(dataset) - 1``.
            label: suffix of the name, after a colon.
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
        """The report of the whole data set, if it was read from outside."""
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
    """Draw ``n`` samples without replacement, in their original order; the same seed draws the same samples.

    Raises:
        PcvrError: ``n`` is not between 1 and the size of the data set.
    """
    check_seed(seed)
    if not is_whole(n) or not 1 <= n <= len(dataset):
        most = len(dataset)
        raise PcvrError(f"n={shown(n)} samples of {shown(dataset.name)}, which has {most}: give 1 to {most}.")
    drawn = np.random.default_rng(seed).permutation(len(dataset))[:n]
    return Subset(dataset, sorted(drawn.tolist()), label=f"{n}")


def shared(one: Dataset, other: Dataset) -> int:
    """Return the number of samples that two parts of the same data share; 0 for different data."""
    (root, these), (other_root, those) = _traced(one), _traced(other)
    return len(these & those) if root.fingerprint() == other_root.fingerprint() else 0


def _traced(dataset: Dataset) -> tuple[Dataset, set[int]]:
    """Return the underlying data set, and the indices in it."""
    indices: Sequence[int] = range(len(dataset))
    while isinstance(dataset, Subset):
        indices = [dataset.indices[index] for index in indices]
        dataset = dataset.dataset
    return dataset, set(indices)
