"""The benchmark of costs measures what it says: its clock runs, and memory that a training takes shows."""

from __future__ import annotations

import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import readme
import torch

from benchmarks import cost
from pcvr import PcvrError
from pcvr.defenses import BYE, DEFENSES, Defense
from pcvr.defenses.base import Fit
from pcvr.defenses.context import TrainingContext
from pcvr.experiments import results
from pcvr.experiments.results import FOLDER, read
from pcvr.models.encode import Batch

MIB = 2**20
TAKEN = 300
"""What a training takes for a moment, MiB."""


class Greedy(Defense):
    """Plain fine-tuning that takes memory at each step and gives it back."""

    def loss(self, run: TrainingContext, batch: Batch) -> Any:
        torch.ones(TAKEN * MIB // 4)
        return super().loss(run, batch)


@pytest.mark.skipif(torch.cuda.is_available(), reason="on a GPU the memory of the GPU counts")
def test_the_most_memory_of_a_training_shows_and_what_came_before_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    before = cost.train("none", "vqa", 2)
    torch.ones(2 * TAKEN * MIB // 4)
    plain = cost.train("none", "vqa", 2)
    assert plain.seconds > 0
    assert plain.mib < before.mib + TAKEN / 2, "a peak from before the training does not count"
    monkeypatch.setattr(cost, "get_defense", lambda *_: Greedy())
    assert cost.train("none", "vqa", 2).mib > plain.mib + TAKEN / 2


def test_work_after_the_last_stage_and_guarded_answers_are_part_of_the_price(monkeypatch: pytest.MonkeyPatch) -> None:
    """A calibration of 0.5 s, and 20 ms for each of four answers."""

    @dataclass(frozen=True)
    class Slow(Defense):
        name = "slow"

        def train(self, run: TrainingContext, fit: Fit) -> None:
            fit()
            time.sleep(0.5)

        def answer(
            self, vlm: Any, images: Sequence[Any], prompts: Sequence[str], generate: Any, state: Any = None
        ) -> list[str]:
            time.sleep(0.02 * len(images))
            return ["yes"] * len(images)

    monkeypatch.setattr(cost, "get_defense", lambda *_: Slow())
    gauge = cost.train("none", "vqa", 2, answers=4)
    assert gauge.seconds >= 0.5 and gauge.answer_ms >= 20
    cost.train("none", "vqa", 2)  # without answers


@pytest.mark.parametrize("layers", [[], [0]], ids=["nothing found", "something found"])
def test_the_second_training_of_bye_is_counted(monkeypatch: pytest.MonkeyPatch, layers: list[int]) -> None:
    stages: list[str] = []
    loss = Defense.loss

    def noted(self: Defense, run: TrainingContext, batch: Batch) -> Any:
        stages.append(run.stage)
        return loss(self, run, batch)

    monkeypatch.setattr(BYE, "loss", noted)
    monkeypatch.setattr(cost, "SAMPLES_A_STEP", 20)
    monkeypatch.setattr("pcvr.defenses.baselines.bye.sensitive_layers", lambda *_: layers)
    if not layers:
        cost.train("bye", "vqa", 1)
        assert stages == ["train"], "where it finds nothing, its price has no second training"
        stages.clear()
    cost.train(cost.RETRAINED, "vqa", 1)
    assert stages == ["train", "retrain"]


def test_every_form_trains_and_answers() -> None:
    for name in cost.FORMS:
        assert cost.FORMS[name][0] in DEFENSES
    gauge = cost.train("crow, clean", "vqa", 2, answers=2)
    assert gauge.seconds > 0 and gauge.answer_ms > 0


def test_a_row_has_training_and_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    def train(name: str, task: str, steps: int, answers: int = 0) -> Any:
        assert answers == cost.ANSWERS
        return SimpleNamespace(
            seconds=3.0 if name == "strip, paper" else 2.0, answer_ms=8.0 if "strip" in name else 4.0
        )

    monkeypatch.setattr(cost, "train", train)
    plain, strip = cost.timed(["none", "strip, paper"], "vqa", 2, 5)
    assert plain["ratio"] == plain["answer_ratio"] == 1
    assert (strip["ratio"], strip["answer_ms"], strip["answer_ratio"]) == (1.5, [8.0, 8.0], 2.0)
    assert strip["options"] == {"blend": "add", "views": 100}
    table = results.Table(
        "x", "2026-01-01", {}, "x", {}, [row | {"peak_ratio": 1.0} for row in (plain, strip)], by="defense"
    )
    head, _, *lines = readme.cost(table)
    assert head == "| defence | vqa: time | vqa: peak memory | vqa: ms an answer |"
    assert lines[1] == "| strip, paper | 1.50 x [1.50, 1.50] | 1.00 x | 8.0 (2.00 x) |"
    assert "8.0 ms an answer  2.00 x" in cost.in_words(strip)


def test_a_row_in_words() -> None:
    row = {"task": "vqa", "defense": "x", "steps": 10, "seconds": [1.0, 3.0, 2.0], "ratios": [1.0, 1.5, 1.2]}
    said = cost.in_words(row | {"ratio": 1.2, "peak_mib": 700.0, "peak_ratio": 1.1})
    assert "200.0 ms a step" in said and "1.20 x (1.00 to 1.50)" in said and "700 MiB" in said


def test_one_row_is_measured_again_and_the_others_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[list[str]] = []

    def timed(names: list[str], task: str, rounds: int, steps: int) -> list[dict[str, Any]]:
        asked.append(names)
        row = {"task": task, "steps": steps, "seconds": [1.0], "ratios": [9.0], "ratio": 9.0}
        return [{"defense": name} | row for name in names]

    file = tmp_path / "cost.json"
    shutil.copy(FOLDER / "cost.json", file)
    before = read(file)
    monkeypatch.setattr(cost, "timed", timed)
    monkeypatch.setattr(cost, "peak_mib", lambda *_: 700.0)
    monkeypatch.setattr("sys.argv", ["cost.py", "--only", "crow", "--out", str(file)])
    cost.main()
    after = read(file)
    assert asked == [["none", "crow"]] * 2, "plain fine-tuning is measured along"
    assert after.rows == before.rows and after.by == "defense"
    changed = [row for row, old in zip(after.runs, before.runs, strict=True) if row != old]
    assert [(row["defense"], row["ratio"], row["peak_ratio"]) for row in changed] == [("crow", 9.0, 1.0)] * 2
    assert "; crow: `python benchmarks/cost.py --only crow`, " in after.caption()
    monkeypatch.setattr("sys.argv", ["cost.py", "--only", "crw", "--out", str(file)])
    with pytest.raises(PcvrError, match="did you mean 'crow'"):
        cost.main()
