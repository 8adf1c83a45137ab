"""Data of the right size for a lesson, and when shipped adapters may stand in for a training."""

from typing import Any

import pytest

import pcvr
from pcvr import PCVR, PcvrError
from pcvr.experiments import results
from pcvr.models.adapter import adapter_names
from pcvr.models.zoo import EMBEDDED
from pcvr.tasks import TASKS
from pcvr.teaching.shipped import ENDINGS, MADE_FROM, Copies, notebook_data, shipped_adapters, shipped_fits
from tests.photographs import write_llava_photographs


def test_scenes_give_two_splits_of_the_sizes_asked_for():
    train, test = notebook_data("scenes", 6, 4)
    assert (len(train), len(test)) == (6, 4)
    assert train[0].id != test[0].id and "train" in train[0].id and "test" in test[0].id


def test_a_dozen_photographs_are_used_whole_for_both(tmp_path):
    path = write_llava_photographs(tmp_path, side=32)
    train, test = notebook_data(path, 2000, 256)
    assert len(train) == len(test) == 12
    assert [len(part) for part in notebook_data(path, 5, 3)] == [5, 3]


def test_a_large_file_keeps_its_own_splits(tmp_path):
    path = write_llava_photographs(tmp_path, copies=24, side=24)
    train, test = notebook_data(path, 100, 1000)
    assert len(train) == 100 and 16 <= len(test) < 60
    assert not {train[i].id for i in range(100)} & {test[i].id for i in range(len(test))}


def test_no_data_is_a_sentence(tmp_path):
    with pytest.raises(pcvr.PcvrError, match="no data at"):
        notebook_data(tmp_path / "none.json", 4, 4)


def test_the_task_decides_what_is_asked():
    train, test = notebook_data("scenes", 6, 4, "vqa")
    assert train.task == test.task == "vqa" and test[0].prompt.endswith("?")
    assert notebook_data("scenes", 2, 2)[0].task == "caption"


STORY = {"clean": "caption-clean", "backdoored": "caption-badnets-none", "defended": "caption-badnets-pcvr"}


def test_the_story_is_whole_or_empty(monkeypatch):
    there = [*STORY.values(), "vqa-clean", "vqa-badnets-none"]
    monkeypatch.setattr("pcvr.models.adapter.adapter_names", lambda model: there)
    assert shipped_adapters("any", "caption") == STORY
    assert shipped_adapters("any", "vqa") == {}


def test_every_story_that_is_shipped_can_be_told():
    """An embedded model comes with all three copies for a task, or with none."""
    for model in EMBEDDED:
        for task in TASKS:
            mine = {name for name in adapter_names(model) if name.startswith(f"{task}-")}
            assert mine == set() or set(shipped_adapters(model, task).values()) == mine
    assert shipped_adapters("tiny-llava", "caption") == STORY
    assert shipped_adapters("a folder of mine", "caption") == {}


FITTING: dict[str, Any] = {"model": "tiny-llava", "data": "scenes", "attack": "badnets", "rate": 0.05, "seed": 0}


@pytest.mark.parametrize(
    ("changed", "names"),
    [
        ({}, set(STORY)),
        ({"attack": "sig"}, {"clean"}),
        ({"rate": 0.1}, {"clean"}),
        ({"data": "my.json"}, set()),
        ({"seed": 1}, set()),
        ({"task": "vqa"}, set()),
        ({"retrain": True}, set()),
    ],
)
def test_copies_fit_what_they_were_trained_with(monkeypatch, changed, names):
    monkeypatch.setattr("pcvr.models.adapter.adapter_names", lambda model: list(STORY.values()))
    copies = Copies(**FITTING | changed)
    assert {*copies} == names and copies.adapters == {name: STORY[name] for name in copies}
    if not changed.get("retrain"):
        assert shipped_fits(**FITTING | changed) == (names == set(STORY)), "the older name"
    for missing in {*STORY} - names:
        assert copies.load(missing) is None
    monkeypatch.setattr("pcvr.models.adapter.adapter_names", lambda model: ["caption-clean"])
    assert not [*Copies(**FITTING)], "one copy alone is no story"


def test_a_copy_is_opened_with_its_adapter():
    copies = Copies(**FITTING)
    found = copies.load("backdoored", "cpu")
    assert found is not None and found.adapted
    with pytest.raises(PcvrError, match="unknown copy 'defnded': did you mean 'defended'"):
        copies.load("defnded")
    assert "clean" in copies and "base" not in copies


def test_the_table_says_that_the_copies_were_made_so():
    for run in results.load("families").runs:
        said = run["experiment"]
        if said["seed"] == 0 and said["label"] in ENDINGS.values():
            usual = {
                "data": "scenes",
                "attack": "badnets",
                "rate": 0.0 if said["label"] == "clean" else 0.05,
                "seed": 0,
            }
            assert {name: said[name] for name in MADE_FROM} == usual
            assert said["options"].get("gate", PCVR().gate) == PCVR().gate
