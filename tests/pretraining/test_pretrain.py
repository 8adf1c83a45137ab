"""Pretraining: every embedded model is made by the same command, and what one run leaves behind harms no other."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

import pcvr
from pcvr.models.zoo import EMBEDDED
from pcvr.pretraining.config import PretrainConfig, recipe_of
from pcvr.pretraining.pretrain import pretrain
from pcvr.pretraining.remake import against_shipped, quality

SMALL = PretrainConfig(batch_size=4, pictures=16)


@pytest.mark.parametrize("name", sorted(EMBEDDED))
def test_two_steps_make_a_checkpoint_that_opens(name: str, tmp_path: Path) -> None:
    config = replace(recipe_of(name), batch_size=4, pictures=16, seeing=0.5).shortened(2)
    record = pretrain(name, tmp_path / "out", config, work=tmp_path / "work")
    assert record["config"]["max_steps"] == 2 and record["parameters"] > 1e6
    vlm = pcvr.load(tmp_path / "out", device="cpu")
    assert vlm.model.config._attn_implementation == "sdpa", "the fused attention is for everybody else"
    found = quality(vlm, n=4)
    assert set(found) == {"objects listed", "lists all right", "questions right", "test scenes"}
    card = (tmp_path / "out" / "README.md").read_text(encoding="utf-8")
    assert f"`pcvr pretrain {name}`" in card and f"{record['parameters']:,}" in card
    rows = {row[0]: row[1:] for row in against_shipped({**record, "quality": found})}
    if (EMBEDDED[name].folder / "training.json").is_file():
        assert rows["steps"][0] == "2" and rows["weights"][0].startswith("others")
    else:
        assert rows == {}


def test_another_recipe_never_goes_on_from_this_ones_weights(tmp_path: Path) -> None:
    work = tmp_path / "work"
    first = pretrain("tiny-llava", tmp_path / "a", SMALL.shortened(2), work=work)
    other = pretrain("tiny-llava", tmp_path / "b", SMALL.shortened(3), work=work)
    assert [r["config"]["max_steps"] for r in (first, other)] == [2, 3]
    assert len(list(work.iterdir())) == 2


def test_a_record_is_complete(tmp_path: Path) -> None:
    pretrain("tiny-idefics3", tmp_path / "out", SMALL.shortened(2), work=tmp_path / "work")
    record = json.loads((tmp_path / "out" / "training.json").read_text(encoding="utf-8"))
    assert {"config", "seconds", "device", "threads", "date", "versions", "losses", "sha256", "about"} <= set(record)
