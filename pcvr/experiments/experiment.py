"""The config of one experiment: everything that decides a result."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any, ClassVar

import numpy as np

from pcvr.errors import PcvrError, shown
from pcvr.utils.checks import check_choice, check_number, check_whole, is_number
from pcvr.utils.renamed import accepts_old_names, first_names

HEADLINE = ("badnets", "blended", "sig", "wanet", "ftrojan", "dual_key")
"""The six attacks of the shipped comparisons."""


def further_attacks() -> list[str]:
    """Return the names of all other attacks that are registered."""
    from pcvr.attacks import ATTACKS

    return [name for name in ATTACKS if name not in HEADLINE]


LATER: dict[str, Any] = {"preset": "scaled", "attack_options": {}, "watch": 0, "clean": 0, "without": ""}
LATER |= {"batch_size": 32, "learning_rate": None, "num_train_epochs": None, "novelty": "", "poison_from": 0.0}
LATER |= {"split": "test", "near": 0, "second": ""}
"""Fields added after the first results were stored, with the values that change nothing."""


_FLOATS = ("rate", "learning_rate", "num_train_epochs", "poison_from")


def _plain(value: Any) -> Any:
    """A value with Python's numbers in place of NumPy's, at any depth."""
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, Mapping):
        return {name: _plain(each) for name, each in value.items()}
    return type(value)(map(_plain, value)) if type(value) in (list, tuple) else value


@accepts_old_names
@dataclass(frozen=True)
class Experiment:
    """Everything that decides a result: data, attack, defence, training, seed.

    Attributes:
        label: name in tables.
        defense: name of the defence.
        options: its options, as plain values.
        attack: name of the attack; the evaluation uses its trigger when ``rate`` is 0 too.
        rate: poison rate, 0 for clean data.
        seed: of the choice of poisoned samples and of the training; the scenes stay the same.
        model: embedded name, folder or hub id.
        samples: training samples.
        tests: test samples.
        max_steps: optimiser steps.
        data: what `pcvr.open_data` takes.
        task: name of the task.
        preset: of the attack.
        attack_options: options of the attack, as plain values.
        watch: steps between two evaluations of the backdoor while training; 0 for none.
        clean: number of trusted samples, for the defences that need them, from the validation split, which is never
            poisoned; 0 for none.
        without: a word. Clean training samples that name it are left out, to measure their effect on an attack; empty
            for none.
        batch_size: samples of a step.
        learning_rate: peak learning rate; None for the usual one of the model's size.
        num_train_epochs: passes over the data, instead of `max_steps`; None for none.
        novelty: what a tenth of the training samples ask, a key of `pcvr.experiments.novelties.NOVELTIES`; or empty.
        poison_from: fraction of each pass over the data before which no altered sample comes, 0 to 0.99. Above 0 the
            order of the data is drawn once, and every pass has it.
        split: where the test samples come from: ``"test"``, or ``"validation"`` while options are chosen; then they are
            those behind the first 200 samples, or behind the trusted ones if there are more of them.
        near: number of test samples on which near triggers are tried too, see `pcvr.attacks.neighbours`; 0 for none.
        second: attack of another attacker, with the same rate and a target of their own; empty for none.
    """

    RENAMED: ClassVar[Mapping[str, str]] = {"steps": "max_steps"}

    label: str
    defense: str = "none"
    options: Mapping[str, Any] = field(default_factory=dict)
    attack: str = "badnets"
    rate: float = 0.05
    seed: int = 0
    model: str = "tiny-llava"
    samples: int = 2000
    tests: int = 512
    max_steps: int = 400
    data: str = "scenes"
    task: str = "caption"
    preset: str = "scaled"
    attack_options: Mapping[str, Any] = field(default_factory=dict)
    watch: int = 0
    clean: int = 0
    without: str = ""
    batch_size: int = 32
    learning_rate: float | None = None
    num_train_epochs: float | None = None
    novelty: str = ""
    poison_from: float = 0.0
    split: str = "test"
    near: int = 0
    second: str = ""

    def __post_init__(self) -> None:
        for name in ("options", "attack_options"):
            if not isinstance(value := getattr(self, name), Mapping):
                raise PcvrError(f"{name} is {shown(value)}: give a mapping, such as {{'size': 4}}.")
        for each in fields(self):  # equal values have one key and fit a file
            object.__setattr__(self, each.name, _plain(getattr(self, each.name)))
        check_whole("clean", self.clean, 0, what="trusted samples")
        if not is_number(self.rate) or not 0 <= self.rate <= 1:
            raise PcvrError(f"rate must lie in [0, 1] (0 for clean data), got {shown(self.rate)}.")
        check_whole("near", self.near, 0, what="test samples")
        check_choice("split", self.split, ("test", "validation"))
        check_number("poison_from", self.poison_from, 0, 0.99, "of a pass over the data")
        for name in _FLOATS:
            if is_number(value := getattr(self, name)):
                object.__setattr__(self, name, float(value))

    @property
    def key(self) -> str:
        """Hash that names the run; results stored before a field, or an option's name or default, came keep theirs."""
        from pcvr.defenses.stored_options import options_to_hash

        said = first_names(Experiment, asdict(self))
        said["options"] = options_to_hash(self.defense, said["options"])
        said = {k: v for k, v in said.items() if LATER.get(k) != v}
        text = json.dumps(said, sort_keys=True, default=str)
        return hashlib.sha256(text.encode()).hexdigest()[:12]

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for a file."""
        from pcvr.defenses.stored_options import options_to_store

        said = asdict(self)
        return said | {"options": options_to_store(self.defense, said["options"])}
