"""A cell made again: what counts as the same, and what is said about the rest."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pcvr import PcvrError
from pcvr.experiments import Experiment
from pcvr.experiments.outcomes import pack
from pcvr.experiments.study.reproduce import reproduce
from pcvr.experiments.study.runner import run_study
from pcvr.experiments.study.store import Store
from tests.studies import plan, pretended, said_threads

KEY = next(iter(plan().cells))


@pytest.fixture
def store(tmp_path: Path) -> Store:
    found = Store(tmp_path / "store")
    run_study(plan(seeds=1), found, run=pretended, threads=1)
    return found


def changed(**figures: float) -> Any:
    """A run with other figures."""

    def run(cell: Experiment) -> Mapping[str, Any]:
        found = pretended(cell)
        record = found["record"]
        clean = record["clean"] | {"attributes": record["clean"]["attributes"] + figures.get("right", 0)}
        return found | {"record": record | {"hits": record["hits"] + figures.get("hits", 0), "clean": clean}}

    return run


def test_the_same_again(store: Store) -> None:
    before = store.file.read_bytes()
    found = reproduce(store, KEY[:5], pretended)
    assert found.good and found.key == KEY and found.label == "none"
    assert {figure.name: figure.good for figure in found.figures} == {
        "hits": True, "right": True, "triggered right": True, "clean hits": None, "clean bleu4": None,
        "clean cider": None, "clean attributes": None,
    }  # fmt: skip
    assert not any(found.other_samples.values()) and len(found.other_samples) == 5
    assert not found.other_setup and not found.notes
    assert store.file.read_bytes() == before, "nothing is stored"


@pytest.mark.parametrize(
    ("figures", "good"),
    [({"right": 0.02}, True), ({"right": -0.02}, True), ({"right": 0.021}, False), ({"hits": 1}, False)],
)
def test_hits_are_equal_and_right_answers_within_two_points(store: Store, figures: Any, good: bool) -> None:
    found = reproduce(store, KEY, changed(**figures))
    assert found.good is good
    assert [figure.name for figure in found.figures if figure.good is False] == ([] if good else [*figures])


def test_samples_that_came_out_otherwise_are_counted(store: Store) -> None:
    def run(cell: Experiment) -> dict[str, Any]:
        found = pretended(cell)
        return found | {"outcomes": found["outcomes"] | {"hit": pack(np.arange(cell.tests) >= 3)}}

    assert reproduce(store, KEY, run).other_samples["hit"] == 3


def test_it_says_what_was_otherwise(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    cell = plan(seeds=1, max_steps=500)
    run_study(cell, store, run=pretended, threads=3)
    text = store.file.read_text().replace('"torch":"', '"torch":"1.')
    store.file.write_text(text)
    found = reproduce(store, next(iter(cell.cells)), said_threads)
    assert [*found.other_setup] == ["torch"] and found.other_setup["torch"][0].startswith("1.")
    assert any("3 threads" in note for note in found.notes) and any("400 steps" in note for note in found.notes)
    assert os.environ["OMP_NUM_THREADS"] == "1"


def test_what_cannot_be_made_again(store: Store) -> None:
    def breaks(cell: Experiment) -> dict[str, Any]:
        raise RuntimeError("no memory")

    with pytest.raises(PcvrError, match=f"cell {KEY} could not be made again: RuntimeError: no memory"):
        reproduce(store, KEY, breaks)
    with pytest.raises(PcvrError, match="has no cell 'feedfeed'"):
        reproduce(store, "feedfeed", pretended)
