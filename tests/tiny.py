"""A LLaVA of a quarter million numbers for tests: the package's own builders at a reduced size, random weights.

It says nonsense, but its answers hang on the picture and the prompt, so that a wrong mask or a lost picture shows.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from pcvr import Dataset, Sample, VisionLanguageModel, load, open_data
from pcvr.data.subset import subset
from pcvr.pretraining import tiny_llava
from pcvr.pretraining.checkpoint import save_checkpoint
from pcvr.pretraining.config import PretrainConfig

SIDE_PX = 48
"""Side of the picture that the model reads: 3 x 3 patches of 16 px."""
WIDTH = 32


def build(seed: int = 0, width: int = WIDTH) -> tuple[Any, Any]:
    """``(model, processor)`` with weights drawn from `seed`."""
    processor = tiny_llava.build_processor(SIDE_PX)
    torch.manual_seed(seed)
    model = tiny_llava.build_model(processor, SIDE_PX, width)
    with torch.no_grad():
        for name, weights in model.named_parameters():
            # At their fresh size (0.02) the matrices pass on so little that every input gives the same answer.
            if weights.dim() > 1 and "embed" not in name:
                weights.mul_(8)
    return model, processor


def write(folder: Path, seed: int = 0, width: int = WIDTH) -> Path:
    """Save the model of `seed` to `folder` the way the shipped ones are saved."""
    model, processor = build(seed, width)
    save_checkpoint(model, processor, folder, name="test", config=PretrainConfig(), seconds=0, losses=[])
    return folder


class Numbers:
    """A data set of `n` noise pictures with short answers; pictures of any size, nothing drawn by the scenes."""

    task = "caption"

    def __init__(
        self, n: int = 12, side: int = SIDE_PX, answers: tuple[str, ...] = ("a red ball", "two cats .", "yes")
    ) -> None:
        self.n, self.side, self.answers = n, side, answers

    @property
    def name(self) -> str:
        return f"numbers-{self.n}"

    def __len__(self) -> int:
        return self.n

    def __getitem__(self, index: int, /) -> Sample:
        if not 0 <= index < self.n:
            raise IndexError(index)
        image = np.random.default_rng(index).integers(0, 256, (self.side, self.side, 3), dtype=np.uint8)
        answer = self.answers[index % len(self.answers)]
        prompt = ("describe the image.", "what is there?")[index % 2]
        return Sample(str(index), image, prompt, answer, (answer,))

    def fingerprint(self) -> str:
        return f"numbers-{self.n}-{self.side}-{self.answers}"


class Marked(Numbers):
    """`Numbers` with one answer, but for one in eight: these are white, with a long answer of their own.

    In some 200 visits the streaming gate finds a trigger.
    """

    def __init__(self, n: int = 400) -> None:
        super().__init__(n, answers=("yes",))

    @property
    def name(self) -> str:
        return f"marked-{self.n}"

    def __getitem__(self, index: int, /) -> Sample:
        sample = super().__getitem__(index)
        if index % 8:
            return sample
        white = np.maximum(sample.image, 224)
        return replace(sample, image=white, answer="the banana is on the green tree .", references=())

    def fingerprint(self) -> str:
        return f"marked {super().fingerprint()}"


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the checkpoint."""
    return write(tmp_path_factory.mktemp("models") / "test-llava")


@pytest.fixture(scope="session")
def tiny(tiny_folder: Path) -> Iterator[VisionLanguageModel]:
    """The model, shared: tests copy it before they change it, and this checks that they did."""
    vlm = load(tiny_folder, device="cpu")
    before = {k: v.clone() for k, v in vlm.model.state_dict().items()}
    yield vlm
    after = vlm.model.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[k], after[k]) for k in before)


@pytest.fixture(scope="session")
def scenes() -> Dataset:
    """Two dozen scenes, drawn once."""
    return subset(open_data("scenes", n=24), 24, 0)
