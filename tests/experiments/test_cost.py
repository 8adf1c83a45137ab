"""The benchmark of costs measures what it says: its clock runs, and memory that a training takes shows."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from benchmarks import cost
from pcvr.defenses import Defense
from pcvr.defenses.context import TrainingContext
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
    monkeypatch.setattr(cost, "get_defense", lambda _: Greedy())
    assert cost.train("none", "vqa", 2).mib > plain.mib + TAKEN / 2


def test_a_row_in_words() -> None:
    row = {"task": "vqa", "defense": "x", "steps": 10, "seconds": [1.0, 3.0, 2.0], "ratios": [1.0, 1.5, 1.2]}
    said = cost.in_words(row | {"ratio": 1.2, "peak_mib": 700.0, "peak_ratio": 1.1})
    assert "200.0 ms a step" in said and "1.20 x (1.00 to 1.50)" in said and "700 MiB" in said
