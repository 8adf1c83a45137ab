"""A step in three forms: each trains, each has its row, and the gate acts in the one with PCVR."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

from pcvr import PcvrError
from pcvr.defenses.pcvr.stream import EARLY
from pcvr.experiments.accelerator import step
from pcvr.experiments.accelerator.shapes import TINY, build
from pcvr.experiments.accelerator.step import Counts, Steps, TwoForwards, measure_steps, step_lines
from pcvr.models.vlm import VisionLanguageModel
from pcvr.training import TrainConfig
from pcvr.training.finetune import with_adapter
from pcvr.training.regularizer import PCVRRegularizer

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def rows() -> list[dict[str, Any]]:
    return measure_steps(TINY, CPU, Counts(steps=2, later=2))


def test_every_form_has_a_row_with_all_figures(rows: list[dict[str, Any]]) -> None:
    names = ["plain", "two forwards", f"PCVR, first {EARLY} samples", "PCVR, later"]
    assert [row["row"] for row in rows] == [f"step: {name}" for name in names]
    for row in rows:
        assert row["samples_per_second"] == pytest.approx(TINY.batch * len(row["seconds"]) / sum(row["seconds"]))
        used = row["samples_per_second"] * row["flops_a_sample"]
        assert 0 < row["share_of_peak"] == pytest.approx(used / row["peak_flops"])
        assert row["peak_mib"] > 50 and row["shapes"]["width"] == TINY.width
    assert rows[0]["ratio"] == 1
    assert [len(row["seconds"]) for row in rows] == [2, 2, EARLY // TINY.batch - step.WARM_UP, 2]


def test_the_gate_finds_the_poisoned_samples_in_random_data(rows: list[dict[str, Any]]) -> None:
    """So the later steps have the forward passes that flagged samples take."""
    gate = rows[-1]["gate"]
    assert gate["verdict"] == "trigger" and gate["recall"] >= 0.5 and gate["false alarms"] <= 20


def test_the_lines_say_how_flops_were_counted(rows: list[dict[str, Any]]) -> None:
    lines = step_lines(rows)
    assert len(lines) == len(rows) + 1 and step_lines([]) == []
    assert "verdict: trigger" in lines[3] and "4 x frozen weights x tokens" in lines[4]


@pytest.fixture
def vlm() -> VisionLanguageModel:
    return with_adapter(build(TINY, "cpu"), TrainConfig(lora_r=4))


def passes(monkeypatch: pytest.MonkeyPatch, vlm: VisionLanguageModel, loss_of: step.LossOf) -> int:
    """Forward passes of the model in one step."""
    count = 0
    forward = vlm.model.forward

    def counted(*given: Any, **named: Any) -> Any:
        nonlocal count
        count += 1
        return forward(*given, **named)

    monkeypatch.setattr(vlm.model, "forward", counted)
    Steps(vlm, TINY).take(loss_of, 1)
    return count


def test_two_forwards_are_two_and_a_plain_step_has_one(
    monkeypatch: pytest.MonkeyPatch, vlm: VisionLanguageModel
) -> None:
    assert passes(monkeypatch, vlm, TwoForwards(vlm)) == 2
    assert passes(monkeypatch, vlm, PCVRRegularizer("none", vlm)) == 1


def test_each_form_begins_with_the_same_adapter(vlm: VisionLanguageModel) -> None:
    steps = Steps(vlm, TINY)
    before = [parameter.detach().clone() for parameter in steps.trained]
    steps.take(PCVRRegularizer("none", vlm), 2)
    assert any(not torch.equal(now, old) for now, old in zip(steps.trained, before, strict=True))
    assert steps.begun == 2 * TINY.batch
    steps.restart()
    assert all(torch.equal(now, old) for now, old in zip(steps.trained, before, strict=True)) and steps.begun == 0


def test_too_little_memory_is_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> Any:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(step, "peak_flops", full)
    with pytest.raises(PcvrError, match=r"a step of 32 samples at the shapes of tiny does not fit .* --batch-size"):
        measure_steps(replace(TINY, batch=32), CPU)
