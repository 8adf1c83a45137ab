"""Files that pcvr 0.1.0 wrote open and mean the same, and the same seeds give the same figures as then."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import TrainerCallback

import pcvr
from pcvr.attacks.poisoned_folder import load_poisoned
from pcvr.attacks.save import save_poisoned
from pcvr.defenses.stored_options import options_from_store
from pcvr.experiments.grid import grid_of, run_grid
from pcvr.training.result import guard_of
from tests.saved import runs
from tests.saved.runs import HERE


def read(name: str) -> Any:
    return json.loads((HERE / name).read_text(encoding="utf-8"))


EXPECTED, OPTIONS, SHORT = read("expected.json"), read("options.json"), read("short_run.json")
EXACT = runs.where() == EXPECTED["where"] == SHORT["where"]
"""Whether these are the versions and the processor of then; others round differently."""
WORDS = {"words": "distribution", "told": "label"}
"""Values of options that have another name now: old to new."""


@pytest.fixture(scope="module")
def vlm() -> Iterator[pcvr.VisionLanguageModel]:
    """The base model; figures are the same to the bit with one thread only."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield runs.model()
    torch.set_num_threads(threads)


def leaves(value: Any) -> list[Any]:
    """The plain values in nested options, in order, whatever the options are called."""
    if isinstance(value, dict | list | tuple):
        return [leaf for part in (value.values() if isinstance(value, dict) else value) for leaf in leaves(part)]
    return [WORDS.get(value, value) if isinstance(value, str) else value]


def agree(found: dict[str, Any], saved: dict[str, Any]) -> None:
    """To the bit where that can be; else losses within a thousandth and all but one sample on its side of the gate."""
    if EXACT:
        assert found == saved
        return
    losses, before = ([float(loss) for loss in each["losses"]] for each in (found, saved))
    assert losses == pytest.approx(before, rel=1e-3)
    assert [gate["step"] for gate in found["gates"]] == [gate["step"] for gate in saved["gates"]]
    for gate, old in zip(found["gates"], saved["gates"], strict=True):
        assert len({*gate["flagged"]} ^ {*old["flagged"]}) <= 1


@pytest.mark.parametrize("name", runs.SHORT)
def test_the_same_figures_from_the_same_seeds(vlm: pcvr.VisionLanguageModel, name: str) -> None:
    agree(runs.short_run(name, vlm), SHORT[name])


ADAPTERS = sorted(path.name for path in (HERE / "adapters").iterdir())
GUARDS = ("strip", "cleansight")


@pytest.mark.parametrize("name", ADAPTERS)
def test_options_of_a_record(name: str) -> None:
    said = read(f"adapters/{name}/record.json")["defense"]
    rule = pcvr.get_defense(said["name"], **options_from_store(said["name"], said["options"]))
    assert leaves({k: v for k, v in asdict(rule).items() if k not in rule.ADDED}) == leaves(said["options"])
    assert not [k for k, then in rule.ADDED.items() if getattr(rule, k) != then], "an old record means what it meant"
    assert pcvr.get_defense(name, **options_from_store(name, OPTIONS[name])) == rule
    if name != "pcvr_paper":
        usual = pcvr.get_defense(name)
        named = [f.name for f in fields(rule) if f.name not in rule.ADDED]
        assert not [name for name in named if getattr(rule, name) == getattr(usual, name)]


@pytest.mark.parametrize("name", ADAPTERS)
def test_an_adapter_answers_as_then(vlm: pcvr.VisionLanguageModel, name: str) -> None:
    opened = pcvr.load(runs.MODEL, adapter=HERE / "adapters" / name, device="cpu")
    if name not in GUARDS:
        assert guard_of(HERE / "adapters" / name) == (None, None)
        said = runs.said(opened)
        assert said != EXPECTED["adapters"]["base says"]
        assert said == EXPECTED["adapters"][name]["says"] or not EXACT


@pytest.mark.parametrize("name", GUARDS)
def test_a_guard_refuses_what_it_refused(vlm: pcvr.VisionLanguageModel, name: str) -> None:
    folder, expected = HERE / "adapters" / name, EXPECTED["adapters"][name]
    rule, state = guard_of(folder)
    assert rule == pcvr.get_defense(name, **OPTIONS[name]) and state is not None
    assert repr(state[name].threshold) == expected["threshold"]
    opened = pcvr.load(runs.MODEL, adapter=folder, device="cpu")
    assert opened.guard is not None and opened.guard.rule == rule
    tests = runs.scenes(6, split="test")
    record = pcvr.evaluate(opened, tests, "blended")
    assert record.guard == name and (record.answers == expected["answers"] or not EXACT)
    assert record.answers == pcvr.evaluate(opened, tests, "blended", defense=rule, state=state).answers


class Counter(TrainerCallback):
    """Counts the steps that are done."""

    steps = 0

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self.steps += 1


@pytest.mark.skipif(
    any(runs.where()[name] != EXPECTED["where"][name] for name in ("torch", "transformers", "accelerate")),
    reason="a checkpoint is resumed with the libraries that wrote it",
)
@pytest.mark.parametrize(("name", "left"), [("pcvr", 5), ("abl", 4), ("premise", 6)])
def test_an_interrupted_training_is_finished(
    vlm: pcvr.VisionLanguageModel, tmp_path: Path, name: str, left: int
) -> None:
    folder = tmp_path / name
    shutil.copytree(HERE / "checkpoints" / name, folder)
    counter = Counter()
    result = runs.interrupted(name, vlm, folder, [counter])
    assert counter.steps == left
    agree(runs.figures(result), EXPECTED["checkpoints"][name])
    assert [taken.step for taken in result.run.state.get("premise", [])] == ([2, 2, 6] if name == "premise" else [])


@pytest.mark.parametrize("name", ["badnets", "blended", "dual_key"])
def test_poisoned_data_open(name: str) -> None:
    data, expected = load_poisoned(HERE / "data" / name), EXPECTED["data"][name]
    assert data.attack.describe() == expected["attack"]
    assert list(data.poisoned) == expected["poisoned"]
    assert data.manifest.sha256 == expected["sha256"]
    assert len([data[i] for i in range(len(data))]) == data.manifest.source["samples"]
    assert [one.attack["name"] for one in data.manifest.chain()] == (["badnets"] if name == "dual_key" else []) + [name]


def test_poisoning_goes_on_where_it_was_cut_off(tmp_path: Path) -> None:
    shutil.copytree(HERE / "data" / ".half.part", tmp_path / ".half.part")
    before = {f.name: f.stat().st_mtime_ns for f in (tmp_path / ".half.part").rglob("*.png")}
    save_poisoned(pcvr.poison(runs.scenes(3), "badnets", 0.34, 1), tmp_path / "half", progress=False)
    after = {f.name: f.stat().st_mtime_ns for f in (tmp_path / "half" / "images").glob("*.png")}
    assert len(before) == 2 and len(after) == 3
    assert before.items() <= after.items()
    assert len(load_poisoned(tmp_path / "half").poisoned) == 1


@pytest.mark.parametrize("file", ["record.json", "evaluated.json"])
def test_a_record_of_an_evaluation(file: str) -> None:
    saved, names = read(file), {f.name for f in fields(pcvr.Record)}
    record = pcvr.Record(**{name: value for name, value in saved.items() if name in names})
    assert record.to_dict(answers=True).items() <= saved.items()
    assert len(record.rows()) == len(record.clean) + 1
    if file == "record.json":
        expected = EXPECTED["evaluations"]
        found = {"asr": record.asr, "interval": list(record.asr_interval), "right": record.clean_right}
        assert found == {name: expected[name] for name in found}


def test_a_sweep_reads_its_old_results(tmp_path: Path) -> None:
    shutil.copytree(HERE / "sweep", tmp_path / "sweep")
    files = sorted(path.name for path in (tmp_path / "sweep").iterdir())
    assert sorted(f"{experiment.key}.json" for experiment in runs.PLAN) == files  # or they would be run again
    found = run_grid(runs.PLAN, tmp_path / "sweep", progress=False)
    saved = EXPECTED["evaluations"]["sweep"]
    assert found == [old | {"experiment": each.to_dict()} for old, each in zip(saved, runs.PLAN, strict=True)]
    assert grid_of(saved) == grid_of(found), "options of then have their names and the gate of then"
    (reference,), (point,) = grid_of(found).references, grid_of(found).points
    assert reference.label == "undefended"
    assert [value for _, value in point.setting] == [0.6, 0.5, 0.0, 0.2]
    assert (point.hits, point.n, point.max_steps) == (found[1]["record"]["hits"], 4, 3)
