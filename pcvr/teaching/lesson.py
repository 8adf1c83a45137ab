"""What the notebooks need around a lesson: data of the right size, and whether shipped adapters fit the parameters."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from pcvr.errors import PcvrError

if TYPE_CHECKING:
    from pcvr.data.sample import Dataset

STORY = ("clean", "badnets-none", "badnets-pcvr")
"""The shipped adapters: a clean fine-tune, and the poisoned one without and with the defence."""
FEWEST = 16
"""A test split with fewer records than this is no test: the whole file is then used for both."""


def lesson_data(data: str | Path, train: int, test: int) -> tuple[Dataset, Dataset]:
    """Data to train and to test on, as `pcvr.open_data` names it.

    For ``"scenes"`` these are `train` and `test` fresh pictures of the two splits. A LLaVA-style JSON gives its own
    train and test split, no more than asked for; where it is so small that the test split has fewer than 16 records, it
    is used whole for both: enough to see every step at work, not enough to measure anything.

    Args:
        data: ``"scenes"``, or the path of a JSON or of its folder.
        train: how many training samples at most.
        test: how many test samples at most.

    Raises:
        PcvrError: nothing can be opened there.
    """
    from pcvr.data import open_data

    if data == "scenes":
        return open_data(data, n=train), open_data(data, split="test", n=test)
    whole = open_data(data, split="all")
    try:
        parts = open_data(data, split="train"), open_data(data, split="test")
    except PcvrError:  # a split without a record
        return _most(whole, train), _most(whole, test)
    if len(parts[1]) < FEWEST:
        return _most(whole, train), _most(whole, test)
    return _most(parts[0], train), _most(parts[1], test)


def shipped_fits(model: str, data: str | Path, attack: str, rate: float, seed: int) -> bool:
    """Whether the shipped adapters were made from these very parameters, so that loading saves training."""
    from pcvr.models.load import shipped_adapters

    made_from = ("scenes", "badnets", 0.05, 0)
    return (str(data), attack, rate, seed) == made_from and set(STORY) <= set(shipped_adapters(model))


def _most(data: Dataset, n: int) -> Dataset:
    from pcvr.data.subset import subset

    return data if len(data) <= n else subset(data, n)
