"""Hostile sizes: batches, answer budgets, texts longer than a model reads."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pcvr import Sample, TrainConfig, VisionLanguageModel, evaluate, finetune, generate
from tests.hostile.catalogue import Case, Works, every
from tests.tiny import Numbers

IMAGE = Numbers()[0].image
STEPS = TrainConfig(max_steps=1, batch_size=2, lora_r=2)


class Long(Numbers):
    """Every answer, or every prompt, has 5000 words."""

    def __init__(self, part: str) -> None:
        super().__init__(4)
        self.part = part

    def __getitem__(self, index: int, /) -> Sample:
        sample, long = super().__getitem__(index), "cat " * 5000
        return replace(sample, prompt=long) if self.part == "prompt" else replace(sample, answer=long)


class Mixed(Numbers):
    """A first picture of 8 px, then larger and larger ones."""

    def __getitem__(self, index: int, /) -> Sample:
        sample = super().__getitem__(index)
        return replace(sample, image=np.zeros((8 + 97 * index, 8 + 31 * index, 3), np.uint8))


@pytest.fixture
def vlm(tiny: VisionLanguageModel, monkeypatch: pytest.MonkeyPatch) -> VisionLanguageModel:
    """The model that the cases use, as ``MODEL["vlm"]``."""
    monkeypatch.setitem(MODEL, "vlm", tiny)
    return tiny


MODEL: dict[str, Any] = {}


def ask(prompt: str = "what is there?", **sizes: Any) -> list[str]:
    return generate(MODEL["vlm"], [IMAGE], [prompt], **sizes)


def measure(data: Any, **sizes: Any) -> Any:
    return evaluate(MODEL["vlm"], data, **{"max_new_tokens": 2, **sizes})


def train(data: Any, **sizes: Any) -> Any:
    return finetune(MODEL["vlm"], data, config=STEPS, progress=False, **sizes)


@every(
    Case("generate, batch of none", lambda work: ask(batch_size=0), "batch_size", "0"),
    Case("generate, batch of a text", lambda work: ask(batch_size="many"), "batch_size", "many"),
    Case("generate, batch of a half", lambda work: ask(batch_size=1.5), "batch_size", "1.5"),
    Case("generate, budget of none", lambda work: ask(max_new_tokens=0), "max_new_tokens", "0"),
    Case("generate, budget of a text", lambda work: ask(max_new_tokens="x"), "max_new_tokens", "'x'"),
    Case("evaluate, batch below zero", lambda work: measure(Numbers(2), batch_size=-3), "batch_size", "-3"),
    Case("evaluate, budget of none", lambda work: measure(Numbers(2), max_new_tokens=0), "max_new_tokens", "0"),
    Case("finetune, batch that is true", lambda work: train(Numbers(2), eval_batch_size=True), "eval_batch_size"),
    Case("finetune, prompt too long", lambda work: train(Long("prompt")), "prompt", "tokens", "shorten"),
    Case("evaluate, prompt too long", lambda work: measure(Long("prompt")), "prompt", "tokens", "shorten"),
    Works("a huge batch", lambda work: ask(batch_size=10**12), lambda said: len(said) == 1),
    Works("a huge budget", lambda work: ask("cat " * 480, max_new_tokens=10**9), lambda said: len(said) == 1),
    Works("answers of 5000 words", lambda work: train(Long("answer")), lambda result: result.cut == 4),
    Works("sizes of NumPy", lambda work: measure(Numbers(3), batch_size=np.int64(2)), lambda record: record.n == 3),
    Works("a small picture first", lambda work: train(Mixed(5)), lambda result: result.cut == 0),
)
def test_sizes(case: Case | Works, vlm: VisionLanguageModel, tmp_path: Path) -> None:
    case.hold(tmp_path)
