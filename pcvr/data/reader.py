"""What the readers of files and of tables share: names, problems, splits, and a bar while images are decoded."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import ClassVar, TypeVar

import numpy as np

from pcvr.data.report import Problem, Report
from pcvr.data.sample import Dataset, Sample
from pcvr.data.split import canonical, own_splits, split_by_key
from pcvr.data.subset import Subset

T = TypeVar("T")

BAR_AFTER = 2.0
"""Seconds after which a progress bar shows."""


class Reader:
    """Samples that were read from a source, each from one of its rows; a row can give several samples.

    Attributes:
        format: name of the format.
        report: problems of the data that were left out (only after ``skip_bad=True``), and notes.
    """

    format: ClassVar[str]
    report: Report
    _source: str  # the source in the data set's name
    _task: str
    _split: str = "all"  # the split that was read
    _row_of: Sequence[int] | np.ndarray  # by sample, its row
    _labels: Sequence[str]  # by row, the split that the data state; empty if they state none

    @property
    def name(self) -> str:
        return f"{self.format}:{self._source}" + ("" if self._split == "all" else f":{self._split}")

    @property
    def task(self) -> str:
        return self._task

    @property
    def problems(self) -> list[Problem]:
        """Everything that was left out and why, after ``skip_bad=True``."""
        return self.report.problems

    @property
    def splits(self) -> dict[str, int]:
        """Samples in each split that the data state, else in the split that was read; empty without splits."""
        if self._labels:
            return dict(Counter(label for row in self._row_of if (label := self._labels[row])))
        return {} if self._split == "all" else {self._split: len(self)}

    @property
    def conversational(self) -> bool:
        """Whether any sample has a system turn or later exchanges."""
        return False

    def __len__(self) -> int:
        return len(self._row_of)

    def __getitem__(self, index: int, /) -> Sample:
        raise NotImplementedError

    def fingerprint(self) -> str:
        raise NotImplementedError

    def split(self, name: str) -> Dataset:
        """Return the samples of one split; ``"all"`` is the whole.

        The split that the data state decides. Data without splits are split by a hash: about 80 % train, 10 %
        validation, 10 % test. The hash is of the image's file name (in tables of its id, else of the row's), so adding
        samples moves no other, and all questions about one image stay in one split.

        Raises:
            PcvrError: for an unknown split, or one without samples.
        """
        held = self.splits
        if not held or name == "all":
            return split_by_key(self, self._split_keys(), name)
        wanted = own_splits(name, held, self.name)
        if not self._labels:
            return self
        indices = [index for index, row in enumerate(self._row_of) if self._labels[row] in wanted]
        return Subset(self, indices, label=canonical(name))

    def _split_keys(self) -> Iterable[str]:
        """Return the key of each sample; data without splits are split by a hash of it."""
        raise NotImplementedError


def checking(rows: Iterable[T]) -> Iterable[T]:
    """Yield `rows` under a progress bar, shown after `BAR_AFTER` seconds."""
    from tqdm.auto import tqdm

    bar: Iterable[T] = tqdm(rows, desc="checking images", unit="image", delay=BAR_AFTER)
    return bar
