"""Defences that begin with a plain fine-tuning share it, and give what they give without."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from pcvr import PcvrError, TrainConfig, VisionLanguageModel, finetune, get_defense
from pcvr.defenses import DEFENSES, Defense
from pcvr.models.libraries import TrainerCallback
from pcvr.training import FinetuneResult
from pcvr.training.live import Recorder
from pcvr.utils.places import alone
from tests.tiny import Numbers

CONFIG = TrainConfig(max_steps=6, batch_size=4, seed=3, lora_r=4)
OPTIONS: dict[str, dict[str, Any]] = {
    "crow": {"on": "clean"},
    "ortho_purify": {"steps": 3, "batch_size": 4},
    "racer": {"steps": 2, "batch_size": 4, "ascent": 2, "window": (0.0, 1.0)},
    "strip": {"views": 2},
    "tcap": {"max_overlap": 1.0},
}
PLAIN = [name for name in sorted(DEFENSES) if get_defense(name, **OPTIONS.get(name, {})).starts_plain]


class Steps(TrainerCallback):
    """Counts the optimiser steps of all stages."""

    def __init__(self) -> None:
        self.done = 0

    def on_step_end(self, *_: Any, **__: Any) -> None:
        self.done += 1


def train(tiny: VisionLanguageModel, rule: Defense, folder: Path | None, **more: Any) -> FinetuneResult:
    data, clean = more.pop("data", Numbers(16)), Numbers(12) if rule.needs_clean or rule.name == "crow" else None
    return finetune(tiny, data, rule, CONFIG, clean=clean, progress=False, plain_start=folder, **more)


def weights(result: FinetuneResult) -> dict[str, torch.Tensor]:
    return {name: value for name, value in result.model.model.state_dict().items() if "lora_" in name}


@pytest.fixture(scope="module")
def start(tiny: VisionLanguageModel, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("starts") / "plain"
    train(tiny, get_defense("none"), folder)
    return folder


def test_what_repairs_filters_or_guards_begins_plainly() -> None:
    assert {"none", "clean_tune", "fine_prune", "crow", "ortho_purify", "racer", "bye", "tcap", "strip"} <= set(PLAIN)
    assert not {"pcvr", "pcvr_paper", "augment", "abl", "byorn", "early_stop"} & set(PLAIN)
    assert not get_defense("crow").starts_plain, "it regularises the fine-tuning itself"


@pytest.mark.parametrize("name", PLAIN)
def test_the_result_is_the_same(tiny: VisionLanguageModel, start: Path, name: str) -> None:
    rule, counted = get_defense(name, **OPTIONS.get(name, {})), Steps()
    alone_, shared = train(tiny, rule, None), train(tiny, rule, start, callbacks=[counted])
    assert counted.done == alone_.history[-1]["step"] - CONFIG.max_steps or counted.done < CONFIG.max_steps
    assert shared.history == alone_.history
    assert all(torch.equal(value, weights(alone_)[k]) for k, value in weights(shared).items())
    assert repr(shared.run.state) == repr(alone_.run.state) and shared.run.step == alone_.run.step
    assert torch.equal(shared.run.generator.get_state(), alone_.run.generator.get_state())
    assert shared.seconds > 0


def test_the_first_one_leaves_it(tiny: VisionLanguageModel, start: Path, tmp_path: Path) -> None:
    rule = get_defense("bye")
    first, second = train(tiny, rule, tmp_path / "plain"), train(tiny, get_defense("none"), tmp_path / "plain")
    assert second.history == train(tiny, get_defense("none"), start).history == first.history[: len(second.history)]


def test_other_defences_pay_no_attention(tiny: VisionLanguageModel, tmp_path: Path) -> None:
    counted = Steps()
    train(tiny, get_defense("augment"), tmp_path / "plain", callbacks=[counted])
    assert counted.done == CONFIG.max_steps and not (tmp_path / "plain").exists()


def test_of_other_data_it_is_refused(tiny: VisionLanguageModel, start: Path) -> None:
    with pytest.raises(PcvrError, match="another training"):
        train(tiny, get_defense("none"), start, data=Numbers(17))


def test_with_checkpoints_it_is_refused(tiny: VisionLanguageModel, start: Path, tmp_path: Path) -> None:
    with pytest.raises(PcvrError, match="checkpoints and plain_start"):
        train(tiny, get_defense("none"), start, checkpoints=tmp_path / "kept")


def test_a_stopped_training_is_no_start(tiny: VisionLanguageModel, tmp_path: Path) -> None:
    recorder = Recorder()
    recorder.stop()
    assert train(tiny, get_defense("none"), tmp_path / "plain", callbacks=[recorder]).stopped
    assert not (tmp_path / "plain" / "0-end").exists()


def test_one_that_another_process_is_writing_is_left_to_it(tiny: VisionLanguageModel, tmp_path: Path) -> None:
    folder = tmp_path / "plain"
    with alone(folder / "plan.json"):
        result = train(tiny, get_defense("none"), folder)
    assert result.history and not (folder / "0-end").exists()
    again = replace(result, seconds=0.0)
    assert again.history == train(tiny, get_defense("none"), folder).history
