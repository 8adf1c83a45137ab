"""Trainings after which a gate cannot be sure: few samples, few steps, a stop. Each is done, and each says so."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from pcvr import TrainConfig, VisionLanguageModel, finetune
from pcvr.defenses import get_defense
from pcvr.training import FinetuneResult
from pcvr.training.live import Recorder
from pcvr.training.result import training_record
from tests.tiny import Numbers


class StopAtOnce(Recorder):
    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        super().on_step_end(args, state, control)
        self.stop()
        control.should_training_stop = True


def after(
    name: str, samples: int, steps: int, *, clean: int = 0, stop: bool = False, **options: Any
) -> Callable[..., Any]:
    def act(vlm: VisionLanguageModel) -> FinetuneResult:
        extra: dict[str, Any] = {"clean": Numbers(clean)} if clean else {}
        config = TrainConfig(max_steps=steps, batch_size=4, lora_r=4, lora_alpha=8)
        calls = [StopAtOnce()] if stop else []
        return finetune(
            vlm, Numbers(samples), get_defense(name, **options), config, callbacks=calls, progress=False, **extra
        )

    return act


@pytest.mark.parametrize(
    ("act", "words"),
    [
        (after("pcvr", 50, 4, gate="two_stage"), ["few scores (50)"]),
        (
            after("pcvr", 1, 2, gate="two_stage"),
            ["before any training (step 1)", "few scores (1)", "no sample was held back"],
        ),
        (after("pcvr", 8, 1, gate="two_stage"), ["before any training (step 0)", "few scores (8)"]),
        (after("pcvr", 8, 3, gate="running", refit=1), ["few scores (8)"]),
        (after("pcvr", 8, 9, stop=True, gate="two_stage"), ["made no scan"]),
        (after("pcvr", 8, 3, gate="batch"), []),
        (after("pcvr", 50, 4), ["came to no verdict (16 samples"]),
        (after("pcvr", 1, 2), ["came to no verdict (2 samples"]),
        (after("pcvr", 8, 9, stop=True), ["came to no verdict (4 samples"]),
        (after("pcvr_paper", 8, 3), []),
        (after("bye", 8, 2), ["'bye' had few samples (8)"]),
        (after("bye", 8, 9, stop=True), ["'bye' had few samples (8)"]),
        (after("tcap", 8, 2), ["'tcap' had few samples (8)"]),
        (after("tcap", 8, 9, stop=True), ["'tcap' had few samples (8)"]),
        (after("byorn", 8, 2), []),
        (after("byorn_f", 8, 9, stop=True), []),
        (after("abl", 8, 5), ["isolated a sample although its portion, 0.01 of 8 samples"]),
        (after("strip", 8, 2, clean=4), ["few trusted samples (4)", "at least 100"]),
        (after("strip", 8, 9, clean=4, stop=True), ["stopped before its calibration"]),
        (after("cleansight", 8, 2, clean=4), ["few trusted samples (4)"]),
        (after("none", 1, 1), []),
    ],
    ids=[
        "fifty samples",
        "one sample",
        "one step",
        "a running gate",
        "stopped before its look",
        "a gate within the batch",
        "the streaming gate",
        "the streaming gate, one sample",
        "the streaming gate stopped",
        "no gate",
        "bye",
        "bye stopped",
        "tcap",
        "tcap stopped",
        "byorn",
        "byorn_f stopped",
        "abl",
        "strip",
        "strip stopped",
        "cleansight",
        "plain",
    ],
)
def test_what_is_not_sure_is_said(tiny: VisionLanguageModel, act: Callable[..., Any], words: list[str]) -> None:
    result = act(tiny)
    assert all(any(word in note for note in result.notes) for word in words), result.notes
    assert bool(result.notes) == bool(words), result.notes
    assert all(note.endswith(".") and len(note) <= 300 for note in result.notes)
    assert json.loads(json.dumps(training_record(result)))["notes"] == list(result.notes)
    assert all(note in str(result) for note in result.notes) and str(result).startswith(f"{result.defense.name}: ")
