"""What is wrong with a config is said before the training, and equal configs have one key."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pcvr import PcvrError
from pcvr.experiments import Experiment, run_experiment

LONG = "a banana and a clock on the table near the old bridge"


def test_equal_values_have_one_key() -> None:
    numbers: dict[str, Any] = {"seed": np.int64(1), "rate": np.float64(0.5)}
    numpy = Experiment("x", "pcvr", {"cap": np.float64(0.5), "scan_at": (np.float32(0.5),)}, **numbers)
    plain = Experiment("x", "pcvr", {"cap": 0.5, "scan_at": (0.5,)}, seed=1, rate=0.5)
    assert numpy == plain and numpy.key == plain.key and json.dumps(numpy.to_dict()) == json.dumps(plain.to_dict())
    assert Experiment("x", rate=0).key == Experiment("x", rate=0.0).key
    assert Experiment("x", num_train_epochs=1).key == Experiment("x", num_train_epochs=1.0).key


@pytest.mark.parametrize("name", ["options", "attack_options"])
def test_options_that_are_no_mapping(name: str) -> None:
    wrong: dict[str, Any] = {name: 3}
    with pytest.raises(PcvrError, match=f"^{name} is 3: give a mapping, such as"):
        Experiment("x", **wrong)


def test_a_context_takes_numpys_seed() -> None:
    from pcvr.defenses.context import TrainingContext

    nothing: Any = None
    seeds: list[Any] = [3, np.int64(3)]
    states = [TrainingContext(nothing, nothing, 1, seed).generator.get_state() for seed in seeds]
    assert states[0].equal(states[1])


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"tests": 1}, "the test data has 1 samples"),
        ({"task": "vqa", "attack_options": {"target": LONG}}, "tokens"),
    ],
)
def test_what_cannot_be_evaluated_is_not_trained(
    tiny_folder: Path, monkeypatch: pytest.MonkeyPatch, change: dict[str, Any], words: str
) -> None:
    monkeypatch.setattr("pcvr.training.finetune", lambda *args, **options: pytest.fail("it trained"))
    with pytest.raises(PcvrError, match=words):
        run_experiment(Experiment("small", model=str(tiny_folder), samples=12, **{"tests": 6, **change}))
