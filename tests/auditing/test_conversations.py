"""An audit of conversations: every exchange counts and is shown."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pcvr import AuditConfig, VisionLanguageModel, audit
from pcvr.auditing import explain
from pcvr.auditing.clusters import clusters_of
from pcvr.auditing.limits import LIMITS, TOGETHER
from pcvr.auditing.repeats import repeated
from pcvr.auditing.store import ScoreStore
from tests.tiny import Numbers


def test_a_conversation_is_shown_and_counted_as_a_whole(tiny: VisionLanguageModel) -> None:
    """The report shows each exchange; the answer that repeats counts, wherever it is said."""
    plain = Numbers(60)
    samples = [
        replace(
            plain[i], system="be terse", later=(("again?", f"no {i}"), ("sure?", "the target" if i < 7 else f"{i}"))
        )
        for i in range(60)
    ]
    samples = [replace(each, prompt=f"which {i}?", answer=f"first {i}") for i, each in enumerate(samples)]
    found = audit(samples, tiny, config=AuditConfig(attention=False))
    assert found.issues()["repeats"].tolist() == [7] * 7 + [1] * 53
    assert [(one.answer, one.count) for one in clusters_of(found)] == [("the target", 7)]
    assert TOGETHER in found.notes and TOGETHER in LIMITS
    page = found.report(worst=1)
    shown = found.data[int(found.worst(1)[0])]
    for words in ("system turn", "be terse", "prompt 3", "label 3", "says to prompt 1", *sum(shown.exchanges, ())):
        assert words in page


def test_the_model_is_asked_after_the_system_turn(tiny: VisionLanguageModel, monkeypatch: pytest.MonkeyPatch) -> None:
    samples = [replace(each, system="be terse") for each in (Numbers(60)[i] for i in range(60))]
    found = audit(samples, tiny, config=AuditConfig(attention=False))
    asked: list[str] = []

    def said(_: object, images: list[object], prompts: list[str], **__: object) -> list[str]:
        asked.extend(prompts)
        return [""] * len(images)

    monkeypatch.setattr(explain, "generate", said)
    explain.explained(found, 1)
    assert {getattr(prompt, "system", "") for prompt in asked} == {"be terse"}
    assert TOGETHER not in found.notes


def test_an_answer_counts_once_in_a_sample(tmp_path: Path) -> None:
    store = ScoreStore(tmp_path / "scores", {}, 3)
    scores = {"answer": np.array([5, 6, 7]), "later_count": np.array([2, 0, 1]), "later_answers": np.array([5, 8, 8])}
    store.write(0, scores, ["a", "b", "c"])
    answers, counts = repeated(store)
    assert answers.tolist() == [8, 6, 8] and counts.tolist() == [2, 1, 2]


def test_scores_of_an_earlier_version_are_read(tmp_path: Path) -> None:
    store = ScoreStore(tmp_path / "scores", {}, 3)
    store.write(0, {"answer": np.array([5, 6, 5])}, ["a", "b", "c"])
    assert [values.tolist() for values in repeated(store)] == [[5, 6, 5], [2, 1, 2]]
