"""What tests of defences at test time share: a tiny model of each family, and questions with short answers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

import pcvr
from pcvr import VisionLanguageModel
from pcvr.models.generate import generate
from tests.families import write
from tests.tiny import Numbers

FAMILIES = ("llava", "blip-2", "idefics3", "idefics3 in tiles")


@pytest.fixture(scope="module", params=FAMILIES)
def vlm(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> VisionLanguageModel:
    return pcvr.load(write(request.param, tmp_path_factory.mktemp("answers") / "model"), device="cpu")


def short(model: VisionLanguageModel, images: Sequence[Any], prompts: Sequence[str]) -> list[str]:
    return generate(model, images, prompts, 6)


def asked(data: Numbers) -> tuple[list[np.ndarray], list[str]]:
    samples = [data[i] for i in range(len(data))]
    return [s.image for s in samples], [s.prompt for s in samples]
