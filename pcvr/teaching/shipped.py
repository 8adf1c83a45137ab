"""Shipped adapters and data for the notebooks: which adapters fit the parameters, and data of the right size."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pcvr.errors import PcvrError
from pcvr.utils.checks import check_choice

if TYPE_CHECKING:
    from pcvr.data.sample import Dataset
    from pcvr.models.vlm import VisionLanguageModel

ENDINGS = {"clean": "clean", "backdoored": "badnets-none", "defended": "badnets-pcvr"}
"""The endings of the shipped adapters' names: clean data, poisoned data without and with the defence."""
MADE_FROM = {"data": "scenes", "attack": "badnets", "rate": 0.05, "seed": 0}
"""What the shipped copies were trained with, by `benchmarks/families.py`."""
FEWEST = 16
"""A test split with fewer records than this is too small: the whole file is then used for training and testing."""


def shipped_adapters(model: str, task: str) -> dict[str, str]:
    """Return the shipped adapters of `model` for `task`, such as ``{"clean": "caption-clean", ...}``.

    The dictionary is empty unless all of them come with the package. It is empty for a model of your own.
    """
    from pcvr.models.adapter import adapter_names

    wanted = {name: f"{task}-{end}" for name, end in ENDINGS.items()}
    return wanted if set(wanted.values()) <= set(adapter_names(model)) else {}


def notebook_data(data: str | Path, train: int, test: int, task: str | None = None) -> tuple[Dataset, Dataset]:
    """Return data for training and for testing.

    For ``"scenes"`` these are `train` and `test` samples of the two splits. Data of your own are reduced to these
    sizes. If their test split has fewer than 16 records, the whole data are used for both. That is enough to see every
    step work, but not enough to measure anything.

    Args:
        data: ``"scenes"``, or the path of annotations or of their folder, as for `pcvr.open_data`.
        train: greatest number of training samples.
        test: greatest number of test samples.
        task: a task of `pcvr.TASKS`; by default the task that the data are made for.

    Raises:
        PcvrError: if the data cannot be opened.
    """
    from pcvr.data import open_data

    if data == "scenes":
        return open_data(data, n=train, task=task), open_data(data, split="test", n=test, task=task)
    whole = open_data(data, split="all", task=task)
    try:
        parts = open_data(data, split="train", task=task), open_data(data, split="test", task=task)
    except PcvrError:  # a split has no record
        return _most(whole, train), _most(whole, test)
    if len(parts[1]) < FEWEST:
        return _most(whole, train), _most(whole, test)
    return _most(parts[0], train), _most(parts[1], test)


@dataclass(frozen=True)
class Copies:
    """The shipped copies of a model that were trained with exactly these parameters, so that no training is needed.

    The copy ``"clean"`` was trained without poison, so it fits every attack and rate. Iterating yields the names of
    the copies that fit, such as ``"backdoored"``.

    Args:
        model: an embedded model; there are no copies of a model of your own.
        data: as for `notebook_data`.
        attack: name of the attack of the backdoored and the defended model.
        rate: poison rate, 0 to 1.
        seed: of the choice of poisoned samples and of the training.
        task: a task of `pcvr.TASKS`.
        retrain: no copy fits, so that everything is trained here.
    """

    model: str
    data: str | Path
    attack: str
    rate: float
    seed: int
    task: str = "caption"
    retrain: bool = False

    def __iter__(self) -> Iterator[str]:
        return iter(self.adapters)

    @property
    def adapters(self) -> dict[str, str]:
        """The adapters that fit, by the names of `ENDINGS`."""
        if self.retrain or str(self.data) != MADE_FROM["data"] or self.seed != MADE_FROM["seed"]:
            return {}
        whole = shipped_adapters(self.model, self.task)
        if (self.attack, self.rate) == (MADE_FROM["attack"], MADE_FROM["rate"]):
            return whole
        return {name: adapter for name, adapter in whole.items() if name == "clean"}

    def load(self, name: str, device: str = "auto") -> VisionLanguageModel | None:
        """Return the model with the copy's adapter, or None if it does not fit and has to be trained.

        Raises:
            PcvrError: an unknown name.
        """
        from pcvr.models.load import load

        check_choice("copy", name, ENDINGS)
        adapter = self.adapters.get(name)
        return None if adapter is None else load(self.model, device=device, adapter=adapter)


def shipped_fits(model: str, data: str | Path, attack: str, rate: float, seed: int, task: str = "caption") -> bool:
    """Return whether every copy fits; older than `Copies`, which also says which ones do."""
    return set(Copies(model, data, attack, rate, seed, task)) == set(ENDINGS)


def _most(data: Dataset, n: int) -> Dataset:
    from pcvr.data.subset import subset

    return data if len(data) <= n else subset(data, n)
