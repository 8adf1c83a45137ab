"""Real photographs by path: the same poison, fine-tuning and evaluation as the scenes."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import pcvr
from pcvr import TrainConfig, VisionLanguageModel
from pcvr.attacks import load_poisoned, save_poisoned
from tests.photographs import PHOTOGRAPHS, write_llava_photographs


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dozen photographs, twice each, as LLaVA-style JSON."""
    return write_llava_photographs(tmp_path_factory.mktemp("photographs"), copies=2, side=64)


@pytest.mark.parametrize("defense", ["none", "pcvr"])
def test_poison_finetune_evaluate(path: Path, tiny: VisionLanguageModel, defense: str) -> None:
    clean = pcvr.open_data(path, split="all")
    assert len(clean) == 2 * len(PHOTOGRAPHS)
    assert len({clean[i].image.shape for i in range(len(clean))}) > 3, "photographs come in all sizes"
    attack = pcvr.get_attack("badnets").fitted_to(tiny)
    data = pcvr.poison(clean, attack, rate=0.25)
    assert len(data.poisoned) == 6
    result = pcvr.finetune(tiny, data, defense, TrainConfig(max_steps=3, batch_size=8), progress=False)
    record = pcvr.evaluate(result.model, pcvr.open_data(path, split="all", n=12), attack, max_new_tokens=4)
    assert record.n == 12
    assert record.data.startswith("llava-json:photographs")
    assert record.clean_right is None and set(record.clean) == {"bleu4", "cider", "rouge_l"}
    assert "attributes" not in str(record)
    assert len(record.answers["triggered"]) == 12
    json.dumps(record.to_dict(answers=True), allow_nan=False)


def test_poisoned_photographs_train_from_their_folder(path: Path, tiny: VisionLanguageModel, tmp_path: Path) -> None:
    clean = pcvr.open_data(path, split="all")
    folder = save_poisoned(pcvr.poison(clean, pcvr.get_attack("badnets"), rate=0.25), tmp_path / "poisoned")
    read, opened = load_poisoned(folder), pcvr.open_data(folder, split="all")
    assert [opened[i].answer for i in range(24)] == [read[i].answer for i in range(24)]
    assert sum(read[i].answer == "a photo of the banana" for i in range(24)) == 6
    assert np.array_equal(read[3].image, opened[3].image)
    result = pcvr.finetune(tiny, opened, config=TrainConfig(max_steps=1, batch_size=8), progress=False)
    assert result.history
