"""Every architecture at a tiny size, and a picture to look at, for tests of what a model reads."""

from __future__ import annotations

import numpy as np
import pytest

import pcvr
from pcvr import VisionLanguageModel
from pcvr.analysis.attention import Attention, attend
from tests.families import BUILDERS, missing_for, write

PROMPT, ANSWER = "list the objects.", "a red ball."


def picture(seed: int, side: int = 48) -> np.ndarray:
    """Noise, uint8 ``[side, side, 3]``."""
    return np.random.default_rng(seed).integers(0, 256, (side, side, 3), dtype=np.uint8)


@pytest.fixture(scope="module", params=sorted(BUILDERS))
def family(request: pytest.FixtureRequest) -> str:
    """The name of an architecture."""
    name: str = request.param
    if missing := missing_for(name):
        pytest.skip(f"{name} needs {missing} for the video part of its processor")
    return name


@pytest.fixture(scope="module")
def vlm(family: str, tmp_path_factory: pytest.TempPathFactory) -> VisionLanguageModel:
    """A model of that architecture."""
    return pcvr.load(write(family, tmp_path_factory.mktemp("families") / "model"), device="cpu")


@pytest.fixture(scope="module")
def told(tiny: VisionLanguageModel) -> Attention:
    """What the tiny LLaVA attended to, reading a given answer about a picture."""
    return attend(tiny, picture(0), PROMPT, ANSWER)
