"""The benchmark of costs measures what it says: its clock runs, and memory that a training takes shows."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks import cost
from pcvr import PcvrError
from pcvr.defenses import Defense
from pcvr.defenses.context import TrainingContext
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
