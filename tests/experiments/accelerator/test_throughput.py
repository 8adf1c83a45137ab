"""Runs an hour: the formula by hand, and what is run how often at a time."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from pcvr import PcvrError
from pcvr.experiments import Experiment
from pcvr.experiments.accelerator import throughput
from pcvr.experiments.accelerator.throughput import measure_throughput, runs_an_hour, throughput_lines

CPU = torch.device("cpu")


def test_the_formula_by_hand() -> None:
    """10 s without steps and 0.1 s a step: 50 s for 400 steps."""
    assert runs_an_hour((40, 80), (14.0, 18.0), 1) == pytest.approx((50, 72))
    assert runs_an_hour((40, 80), (14.0, 18.0), 4) == pytest.approx((50, 288))
    assert runs_an_hour((40, 80), (14.0, 13.0), 1)[0] == 13, "noise makes no step take less than nothing"


@pytest.mark.parametrize("lengths", [(80, 40), (40,), (0, 40), (40, 40)])
def test_two_lengths_are_needed(lengths: tuple[int, ...]) -> None:
    with pytest.raises(PcvrError, match="give two numbers of steps, the shorter first"):
        list(measure_throughput([Experiment("plain")], lengths, (1,), CPU))


def test_each_experiment_runs_in_both_lengths_after_a_warm_up(monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[tuple[str, int]] = []
    monkeypatch.setattr(throughput, "run_experiment", lambda each: ran.append((each.defense, each.max_steps)))
    plan = [Experiment("plain"), Experiment("PCVR", "pcvr")]
    rows = list(measure_throughput(plan, (3, 5), (1,), CPU))
    assert ran == [("none", 2), ("none", 3), ("none", 5), ("pcvr", 3), ("pcvr", 5)]
    assert [row["row"] for row in rows] == ["study: plain, 1 at a time", "study: PCVR, 1 at a time"]


def test_several_at_a_time_are_handed_to_the_pool_together(monkeypatch: pytest.MonkeyPatch) -> None:
    events: list[str] = []

    class Later:
        def result(self) -> None:
            events.append("waited")

    class Pool:
        def submit(self, *_: Any) -> Later:
            events.append("started")
            return Later()

    pool: Any = Pool()
    assert throughput._together(pool, Experiment("plain"), 3) >= 0
    assert events == ["started"] * 3 + ["waited"] * 3


def test_the_lines_have_the_formula() -> None:
    row = {"row": "x", "runs_an_hour": 72.0, "run_seconds": 50.0, "lengths": [40, 80], "seconds": [14.0, 18.0]}
    said = throughput_lines([row | {"formula": throughput.FORMULA}])
    assert "14.0 s with 40 steps and 18.0 s with 80 steps" in said[0] and said[1].strip() == throughput.FORMULA
    assert throughput_lines([]) == []
