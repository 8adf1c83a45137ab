"""What the notebooks need around a lesson: data of the right size, and whether shipped adapters fit the parameters."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from pcvr.errors import PcvrError

if TYPE_CHECKING:
    from pcvr.data.sample import Dataset

STORY = {"clean": "clean", "backdoored": "badnets-none", "defended": "badnets-pcvr"}
"""The shipped fine-tunings (clean data; poisoned without and with the defence), and how their adapters' names end."""
FEWEST = 16
"""A test split with fewer records than this is no test: the whole file is then used for both."""


def shipped_adapters(model: str, task: str) -> dict[str, str]:
    """The shipped adapters of `model` for `task`, such as ``{"clean": "caption-clean", ...}``.

    Empty where they do not all come with the package, as for a model of your own.
    """
    from pcvr.models.adapter import adapter_names

    wanted = {name: f"{task}-{end}" for name, end in STORY.items()}
    return wanted if set(wanted.values()) <= set(adapter_names(model)) else {}


def notebook_data(data: str | Path, train: int, test: int, task: str | None = None) -> tuple[Dataset, Dataset]:
    """Data to train and to test on, as `pcvr.open_data` names it.

    For ``"scenes"`` these are `train` and `test` fresh pictures of the two splits. Data of your own give their train
    and test split, no more than asked for; where they are so few that the test split has fewer than 16 records, they
    are used whole for both: enough to see every step at work, not enough to measure anything.

    Args:
        data: ``"scenes"``, or the path of annotations or of their folder.
        train: how many training samples at most.
        test: how many test samples at most.
        task: what is asked of the pictures; by default what the data are made for.

    Raises:
        PcvrError: nothing can be opened there.
    """
    from pcvr.data import open_data

    if data == "scenes":
        return open_data(data, n=train, task=task), open_data(data, split="test", n=test, task=task)
    whole = open_data(data, split="all", task=task)
    try:
        parts = open_data(data, split="train", task=task), open_data(data, split="test", task=task)
    except PcvrError:  # a split without a record
        return _most(whole, train), _most(whole, test)
    if len(parts[1]) < FEWEST:
        return _most(whole, train), _most(whole, test)
    return _most(parts[0], train), _most(parts[1], test)


def shipped_fits(model: str, data: str | Path, attack: str, rate: float, seed: int, task: str = "caption") -> bool:
    """Whether the shipped adapters were made from these very parameters, so that loading saves training."""
    made_from = ("scenes", "badnets", 0.05, 0)
    return (str(data), attack, rate, seed) == made_from and bool(shipped_adapters(model, task))


def _most(data: Dataset, n: int) -> Dataset:
    from pcvr.data.subset import subset

    return data if len(data) <= n else subset(data, n)
