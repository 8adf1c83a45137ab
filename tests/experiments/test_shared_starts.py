"""Cells that begin with the same plain fine-tuning share it, and nothing else changes."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pcvr.experiments import Experiment
from pcvr.experiments.run import plain_twin, run_experiment, start_of

SMALL = Experiment("repaired", "clean_tune", {"fraction": 0.5}, clean=16, samples=40, tests=8, max_steps=3, rate=0.2)


def test_cells_on_the_same_data_share_a_start() -> None:
    twin = plain_twin(SMALL)
    assert (twin.defense, twin.options, twin.clean) == ("none", {}, 0)
    for other in (
        replace(SMALL, label="x", defense="bye", options={}, clean=0),
        replace(SMALL, tests=99, split="validation", near=4),
    ):
        assert plain_twin(other).key == twin.key


@pytest.mark.parametrize(
    "change",
    [{"seed": 1}, {"rate": 0.1}, {"attack": "sig"}, {"task": "vqa"}, {"max_steps": 4}, {"poison_from": 0.5},
     {"attack_options": {"answer": "prefix"}}, {"samples": 41}, {"model": "tiny-blip2"}, {"novelty": "style"}],
)  # fmt: skip
def test_other_data_or_steps_have_their_own(change: dict[str, Any]) -> None:
    assert plain_twin(replace(SMALL, **change)).key != plain_twin(SMALL).key


@pytest.mark.parametrize("name", ["threads", "device", "machine", "versions"])
def test_another_set_up_has_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    from pcvr.experiments import set_up

    before, now = start_of(SMALL, tmp_path), set_up.setup_now(1)
    assert start_of(SMALL, tmp_path) == before
    monkeypatch.setattr(set_up, "setup_now", lambda threads: now | {name: "another"})
    assert start_of(SMALL, tmp_path) != before


def plain_values(found: dict[str, Any]) -> dict[str, Any]:
    """Without what is measured in seconds."""
    values: dict[str, Any] = json.loads(json.dumps(found))
    del values["seconds"], values["record"]["seconds"]
    return values


def test_the_record_is_the_same(tmp_path: Path) -> None:
    before = run_experiment(SMALL)
    plain = run_experiment(plain_twin(SMALL), starts=tmp_path)
    (start,) = tmp_path.iterdir()
    assert (
        start == start_of(SMALL, tmp_path)
        and start.name.startswith(plain_twin(SMALL).key)
        and (start / "0-end").is_dir()
    )
    after = run_experiment(SMALL, starts=tmp_path)
    assert plain_values(after) == plain_values(before)
    assert after["seconds"] > 0 and plain["key"] == plain_twin(SMALL).key


def test_a_watched_cell_trains_its_own(tmp_path: Path) -> None:
    run_experiment(replace(SMALL, defense="none", options={}, clean=0, watch=1), starts=tmp_path)
    assert not list(tmp_path.iterdir())
