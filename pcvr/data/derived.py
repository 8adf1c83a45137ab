"""Data made from other data, sample by sample."""

from __future__ import annotations

from pcvr.data.sample import Dataset, Sample
from pcvr.data.subset import position


class DerivedDataset:
    """A data set made from another one, with the same task, length and ids.

    Attributes:
        source: the other one.
    """

    def __init__(self, source: Dataset) -> None:
        self.source = source

    @property
    def task(self) -> str:
        return self.source.task

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, index: int, /) -> Sample:
        place = position(index, len(self.source))
        return self.altered(place, self.source[place])

    def altered(self, place: int, sample: Sample) -> Sample:
        """Return what becomes of the source's `sample` at `place`, from 0 to the number of samples less 1."""
        return sample
