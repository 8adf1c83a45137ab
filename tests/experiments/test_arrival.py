"""Poison that comes late in each pass over the data."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from pcvr import PcvrError, TrainConfig, finetune, poison
from pcvr.data import open_data
from pcvr.experiments import Experiment
from pcvr.experiments.arrival import late_order
from pcvr.experiments.run import materials_of, run_experiment
from pcvr.models.vlm import VisionLanguageModel


@given(
    count=st.integers(1, 60),
    rows=st.sets(st.integers(0, 59)),
    start=st.floats(0, 0.99),
    seed=st.integers(0, 2**32 - 1),
)
def test_every_sample_comes_once_and_the_late_ones_late(count: int, rows: set[int], start: float, seed: int) -> None:
    late = {row for row in rows if row < count}
    first = math.ceil(start * count)
    assume(len(late) <= count - first)
    order = late_order(count, late, start, seed)
    assert sorted(order) == list(range(count))
    assert all(place >= first for place, number in enumerate(order) if number in late)
    assert order == late_order(count, late, start, seed)


def test_the_rest_of_the_order_is_mixed() -> None:
    order = late_order(1000, range(50), 0.5, 0)
    places = [place for place, number in enumerate(order) if number < 50]
    assert 500 <= min(places) < 560 and 940 < max(places) < 1000
    assert order != late_order(1000, range(50), 0.5, 1)


def test_no_room_for_them() -> None:
    with pytest.raises(PcvrError, match=r"poison_from is 0.9, so 1 of 10 samples come after it, and 2 are altered"):
        late_order(10, (3, 4), 0.9, 0)


@pytest.mark.parametrize("value", [-0.1, 1, float("nan"), "half"])
def test_a_fraction_outside_its_range(value: Any) -> None:
    with pytest.raises(PcvrError, match=r"poison_from is .*: give a number from 0 to 0.99"):
        Experiment("late", poison_from=value)


def test_two_attackers_come_late_together(tiny_folder: Path) -> None:
    late = Experiment("late", model=str(tiny_folder), samples=40, tests=4, rate=0.1, second="sig", poison_from=0.5)
    data = materials_of(late).train
    poisoned = [i for i in range(len(data)) if data[i].answer in ("a photo of the banana", "a photo of the clock")]
    assert len(poisoned) == 8 and min(poisoned) >= 20


@pytest.mark.slow
def test_an_experiment_with_late_poison(tiny_folder: Path) -> None:
    late = Experiment(
        "late", "pcvr", attack="dual_key", model=str(tiny_folder), samples=40, tests=4, max_steps=4, batch_size=10,
        rate=0.1, poison_from=0.5,
    )  # fmt: skip
    given = materials_of(late)
    usual = poison(open_data("scenes", split="train", n=40), given.attack, 0.1, model=given.vlm)
    covers = [sample for sample in map(given.train.__getitem__, range(20)) if "Consider" in sample.prompt]
    assert not covers and min(given.poisoned) >= 20
    answers = {given.train[row].answer for row in given.poisoned}
    assert answers == {given.attack.target} and len(given.poisoned) == len(usual.poisoned) == 4
    run = run_experiment(late)
    assert run["experiment"]["poison_from"] == 0.5 and run["gate"]


@pytest.mark.slow
@pytest.mark.parametrize("shuffle", [True, False])
def test_the_order_of_the_data(tiny: VisionLanguageModel, monkeypatch: pytest.MonkeyPatch, shuffle: bool) -> None:
    from pcvr.training.trainer import DefenseTrainer

    seen: list[int] = []
    training_step = DefenseTrainer.training_step

    def noted(self: DefenseTrainer, model: Any, inputs: dict[str, Any], *rest: Any) -> Any:
        seen.extend(inputs["index"].tolist())
        return training_step(self, model, inputs, *rest)

    monkeypatch.setattr(DefenseTrainer, "training_step", noted)
    config = TrainConfig(max_steps=4, batch_size=4, lora_r=2, shuffle=shuffle)
    finetune(tiny, open_data("scenes", n=8), "none", config)
    assert (seen == [*range(8), *range(8)]) is not shuffle
    assert sorted(seen) == sorted([*range(8), *range(8)])
