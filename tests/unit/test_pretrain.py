"""Pretraining: what an interrupted or shortened run leaves behind harms no other."""

from __future__ import annotations

from pathlib import Path

from pcvr.models.pretrain import PretrainConfig, pretrain


def test_another_pretraining_recipe_never_goes_on_from_this_ones_weights(tmp_path: Path) -> None:
    work = tmp_path / "work"
    first = pretrain("tiny-llava", tmp_path / "a", PretrainConfig(batch_size=2, pictures=8).shortened(2), work=work)
    other = pretrain("tiny-llava", tmp_path / "b", PretrainConfig(batch_size=2, pictures=8).shortened(3), work=work)
    assert [r["config"]["steps"] for r in (first, other)] == [2, 3]
    assert len(list(work.iterdir())) == 2
