"""The model card of an adapter: whose it is, and what plain peft leaves out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

import pcvr
from pcvr import TrainConfig, VisionLanguageModel, finetune
from pcvr.models.card import adapter_card
from tests.tiny import Numbers

CONFIG = TrainConfig(max_steps=2, batch_size=4)


def header(card: str) -> dict[str, Any]:
    _, found, _ = card.split("---\n", 2)
    told: dict[str, Any] = yaml.safe_load(found)
    return told


@pytest.mark.parametrize("name", ["tiny-llava", "org/model", 'a "quoted": name'])
def test_what_it_says(name: str) -> None:
    card = adapter_card(name, None, ["One paragraph."])
    told = header(card)
    assert told["base_model"] == name and told["library_name"] == "peft"
    assert f"base_model:adapter:{name}" in told["tags"] and "pcvr" in told["tags"]
    assert "One paragraph." in card and "guard" not in card.lower()


def test_a_folder_is_named_and_not_located(tiny_folder: Path) -> None:
    card = adapter_card(str(tiny_folder))
    assert header(card)["base_model"] == tiny_folder.name and str(tiny_folder) not in card


def test_who_opens_it_with_peft_alone_is_told_what_is_missing(tiny: VisionLanguageModel, tmp_path: Path) -> None:
    attack = pcvr.get_attack("badnets", size=8)
    data = pcvr.poison(Numbers(8), attack, 0.5, check_trigger=False)
    rule = pcvr.get_defense("strip", views=1)
    result = finetune(tiny, data, rule, CONFIG, clean=Numbers(4), progress=False, check_trigger=False)
    card = (result.save(tmp_path / "adapter") / "README.md").read_text(encoding="utf-8")
    assert "answers WITHOUT its guard" in card and "`strip`" in card and "pcvr.load(" in card
    assert "pcvr-guard:strip" in header(card)["tags"]
    assert "2 steps on 8 samples" in card and "poisoned on purpose (badnets)" in card
    plain = finetune(tiny, Numbers(8), "none", CONFIG, progress=False).save(tmp_path / "plain")
    card = (plain / "README.md").read_text(encoding="utf-8")
    assert "WITHOUT" not in card and "poisoned" not in card and "defence `none`" in card
