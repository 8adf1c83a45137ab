"""What is shipped is what its recipe makes: a small part is made again and compared."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

import pcvr
from pcvr.models.adapter import ADAPTERS, adapter_names
from pcvr.models.zoo import CHECKPOINTS, EMBEDDED, shipped
from pcvr.pretraining.config import PretrainConfig, recipe_of
from pcvr.pretraining.remake import quality
from pcvr.tasks import get_task
from pcvr.teaching.shipped import ENDINGS
from pcvr.utils.renamed import current_names
from tests.shipped import SHIPPED_TASKS

LIMIT_BYTES = 6 * 2**20
ALL_BYTES = 25 * 2**20
TESTS = 96
COMBINATIONS = [(model, task) for model in shipped() for task in SHIPPED_TASKS]


def record_of(model: str, adapter: str) -> dict[str, Any]:
    kept: dict[str, Any] = json.loads((ADAPTERS / model / adapter / "record.json").read_text(encoding="utf-8"))
    return kept


def test_the_package_with_all_weights_is_small() -> None:
    package = Path(pcvr.__file__).parent
    assert sum(f.stat().st_size for f in package.rglob("*") if f.is_file() and f.suffix != ".pyc") <= ALL_BYTES
    assert CHECKPOINTS.is_relative_to(package) and ADAPTERS.is_relative_to(package)


@pytest.mark.parametrize("name", shipped())
def test_a_checkpoint_is_small_and_the_one_its_record_describes(name: str) -> None:
    folder = EMBEDDED[name].folder
    weights = (folder / "model.safetensors").read_bytes()
    record = json.loads((folder / "training.json").read_text(encoding="utf-8"))
    assert len(weights) <= LIMIT_BYTES
    assert hashlib.sha256(weights).hexdigest() == record["sha256"]


@pytest.mark.parametrize("name", shipped())
def test_a_checkpoint_is_of_the_recipe_that_is_in_the_code(name: str) -> None:
    record = json.loads((EMBEDDED[name].folder / "training.json").read_text(encoding="utf-8"))
    assert PretrainConfig(**current_names(PretrainConfig, record["config"])) == recipe_of(name)


@pytest.mark.slow
@pytest.mark.parametrize("name", shipped())
def test_the_first_steps_of_pretraining_come_out_as_recorded(name: str, tmp_path: Path) -> None:
    from pcvr.pretraining.pretrain import pretrain

    shipped = json.loads((EMBEDDED[name].folder / "training.json").read_text(encoding="utf-8"))["losses"]
    again = pretrain(name, tmp_path / "out", work=tmp_path / "work", stop=25)["losses"]
    assert again[0][0] == shipped[0][0] == 25
    assert again[0][-1] == pytest.approx(shipped[0][-1], rel=0.02)  # naming; devices round differently


@pytest.mark.parametrize("name", shipped())
def test_a_base_model_says_what_it_sees_as_well_as_its_card_says(name: str) -> None:
    record = json.loads((EMBEDDED[name].folder / "training.json").read_text(encoding="utf-8"))
    base = pcvr.load(name)
    found = quality(base, TESTS)
    for label in ("objects listed", "lists all right", "questions right"):
        assert found[label] == pytest.approx(record["quality"][label], abs=0.1)  # fewer scenes than the card's
    assert found["objects listed"] > 0.9
    scenes = pcvr.open_data("scenes", split="test", n=TESTS)
    assert pcvr.evaluate(base, scenes, pcvr.get_attack("badnets")).hits == 0


@pytest.mark.parametrize(("model", "task"), COMBINATIONS)
def test_the_adapters_tell_the_story_that_their_records_tell(model: str, task: str) -> None:
    assert {f"{task}-{end}" for end in ENDINGS.values()} <= set(adapter_names(model))
    attack = pcvr.get_attack("badnets", task=task)
    data = pcvr.open_data("scenes", split="test", n=TESTS, task=task)
    for name, end in ENDINGS.items():
        kept = record_of(model, f"{task}-{end}")
        assert kept["experiment"]["model"] == model and kept["experiment"]["task"] == task
        fresh = pcvr.evaluate(pcvr.load(model, adapter=f"{task}-{end}"), data, attack)
        assert fresh.asr == pytest.approx(kept["record"]["asr"], abs=0.12)
        assert fresh.clean_right == pytest.approx(kept["record"]["clean"][get_task(task).right], abs=0.12)
        if name == "backdoored":
            assert fresh.asr >= 0.8
        if name == "clean":
            assert fresh.asr <= 0.1
