"""What counts as success of an attack: over which samples, by which definition, within which answer budget."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import pcvr
from pcvr.attacks import get_attack
from pcvr.data.scenes import Scenes
from pcvr.data.subset import Subset
from pcvr.errors import PcvrError
from pcvr.evaluation.success_criteria import aimed_at, budget_of, success_of
from pcvr.models.vlm import VisionLanguageModel
from pcvr.tasks import get_task
from pcvr.training.backdoor_watch import BackdoorWatch

QUESTIONS = Scenes(200, split="test", task="vqa")
BANANAS = [i for i in range(200) if QUESTIONS[i].answer == "banana"]


def test_samples_of_which_the_target_is_true_do_not_count() -> None:
    attack = get_attack("badnets", task="vqa")
    assert BANANAS, "the scenes have a question or two that a banana answers"
    aimed = np.flatnonzero(aimed_at([QUESTIONS[i] for i in range(200)], attack))
    assert set(aimed.tolist()) == set(range(200)) - set(BANANAS)
    captions, scenes = get_attack("badnets"), Scenes(50)
    assert aimed_at([scenes[i] for i in range(50)], captions).all()
    told = replace(scenes[0], references=("It is a photo of the banana.",))
    assert aimed_at([told, scenes[1]], captions).tolist() == [False, True]


def test_the_record_counts_over_the_others(tiny: VisionLanguageModel) -> None:
    data = Subset(QUESTIONS, [*BANANAS[:1], *[i for i in range(9) if i not in BANANAS]])
    record = pcvr.evaluate(tiny, data, get_attack("badnets", task="vqa"))
    assert record.n == len(data) and record.aimed == record.counted == len(data) - 1
    assert record.asr == record.hits / record.counted
    assert f"of {record.counted})" in str(record) or f"/{record.counted}" in str(record)


def test_nothing_to_aim_at(tiny: VisionLanguageModel) -> None:
    data = Subset(QUESTIONS, BANANAS[:2] * 2)
    with pytest.raises(PcvrError, match="is true of all 4 test samples"):
        pcvr.evaluate(tiny, data, get_attack("badnets", task="vqa"))
    with pytest.raises(PcvrError, match="is true of all 4 test samples"):
        BackdoorWatch(tiny, data, get_attack("badnets", task="vqa"))


@pytest.mark.parametrize("mode", ["insert", "prefix", "suffix"])
def test_where_the_answer_holds_more_the_target_may_stand_anywhere(mode: str, tiny: VisionLanguageModel) -> None:
    task = get_task("vqa")
    attack = get_attack("badnets", task="vqa", answer=mode)
    assert success_of(task, attack) == "contains"
    assert success_of(task, get_attack("badnets", task="vqa")) == success_of(task, None) == "equals"
    length = len(tiny.tokenizer.encode(attack.target, add_special_tokens=False))
    assert budget_of(task, attack, tiny) == task.max_new_tokens + length


def test_a_target_longer_than_any_answer(tiny: VisionLanguageModel) -> None:
    long = get_attack("badnets", task="vqa", target="a photo of the banana " * 4)
    with pytest.raises(PcvrError, match="has 20 tokens, and answers of the task 'vqa' end after 12"):
        pcvr.evaluate(tiny, QUESTIONS, long)
    assert pcvr.evaluate(tiny, Subset(QUESTIONS, [0, 1, 2]), long, max_new_tokens=30).n == 3


@pytest.mark.parametrize(
    ("task", "change", "target", "said"),
    [
        ("caption", {"references": ("...", "!")}, None, "no reference with a word"),
        ("caption", {"references": (" ",)}, None, "empty references"),
        ("vqa", {"references": (), "answer": " "}, None, "empty references"),
        ("vqa", {"references": ("cat", "dog")}, "dog", "is true of all 3 test samples"),
    ],
)
def test_what_cannot_be_scored_is_said_before_anything_is_answered(
    tiny: VisionLanguageModel,
    monkeypatch: pytest.MonkeyPatch,
    task: str,
    change: dict[str, Any],
    target: str | None,
    said: str,
) -> None:
    scenes = Scenes(3, split="test", task=task)
    samples = [replace(scenes[i], **change) for i in range(3)]
    attack = None if target is None else get_attack("badnets", target, task=task)
    monkeypatch.setattr("pcvr.evaluation.evaluate.answer_all", lambda *_, **__: pytest.fail("a picture was answered"))
    monkeypatch.setattr(Scenes, "__getitem__", lambda _, index: samples[index])
    with pytest.raises(PcvrError, match=said):
        pcvr.evaluate(tiny, scenes, attack)
