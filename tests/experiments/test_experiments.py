"""Experiments: a key for each config, results that are kept, sweeps that go on where they stopped."""

from __future__ import annotations

import json
import re
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from pcvr import PcvrError, finetune
from pcvr.defenses.pcvr.gate import Gate
from pcvr.defenses.pcvr.stream import Hearing, StreamGate
from pcvr.experiments import Experiment, results, run_experiment, sweep
from pcvr.experiments.gate_report import gate_quality, gate_report
from pcvr.experiments.outcomes import pack, unpack

OTHER: dict[str, Any] = {
    "label": "other",
    "defense": "pcvr",
    "options": {"cap": 0.3},
    "attack": "other",
    "rate": 0.1,
    "seed": 1,
    "model": "other",
    "samples": 100,
    "tests": 100,
    "max_steps": 10,
    "data": "other.json",
    "task": "vqa",
    "preset": "compat",
    "attack_options": {"size": 4},
    "watch": 5,
    "clean": 8,
    "without": "car",
    "batch_size": 8,
    "learning_rate": 1e-3,
    "num_train_epochs": 2.0,
    "novelty": "language",
    "poison_from": 0.5,
    "split": "validation",
    "near": 16,
    "second": "blended",
}


@pytest.fixture
def small(tiny_folder: Path) -> Experiment:
    """Two steps on a dozen scenes."""
    return Experiment("small", model=str(tiny_folder), rate=0.25, samples=12, tests=6, max_steps=2)


class TestKey:
    def test_it_is_stable(self) -> None:
        key = Experiment("plain", options={"b": 1, "a": (0.5,)}).key
        assert key == Experiment("plain", options={"a": (0.5,), "b": 1}).key
        assert len(key) == 12
        # Results on disk are named by it: changing how it is made orphans them.
        assert Experiment("plain").key == Experiment("plain").key

    @pytest.mark.parametrize("field", [f.name for f in fields(Experiment)])
    def test_it_changes_with_each_field(self, field: str) -> None:
        base = Experiment("plain")
        assert OTHER[field] != getattr(base, field)
        assert replace(base, **{field: OTHER[field]}).key != base.key


@pytest.mark.parametrize("rate", [-0.1, 1.1, float("nan")])
def test_a_rate_outside_its_range(rate: float) -> None:
    with pytest.raises(PcvrError, match="rate must lie"):
        Experiment("x", rate=rate)


@pytest.mark.parametrize("clean", [-1, 1.5, True])
def test_a_number_of_trusted_samples_that_is_none(clean: Any) -> None:
    with pytest.raises(PcvrError, match=r"clean is .*: give a whole number from 0 up"):
        Experiment("x", clean=clean)


def test_trusted_samples_are_of_another_split(small: Experiment, monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[Any] = []

    def look(*args: Any, clean: Any, **options: Any) -> Any:
        given.append((args[1], clean))
        return finetune(*args, clean=clean, **options)

    monkeypatch.setattr("pcvr.training.finetune", look)
    run_experiment(replace(small, clean=5))
    run_experiment(small)
    (data, clean), (_, none) = given
    assert none is None
    assert len(clean) == 5 and clean.task == "caption"
    pictures = {data[i].image.tobytes() for i in range(len(data))}
    assert not pictures & {clean[i].image.tobytes() for i in range(5)}


def test_one_experiment(small: Experiment, tmp_path: Path) -> None:
    found = run_experiment(small, save=tmp_path / "adapter")
    assert json.loads(json.dumps(found, allow_nan=False))["experiment"] == {
        **small.__dict__,
        "options": {},
        "attack_options": {},
    }
    assert found["key"] == small.key
    assert found["record"]["n"] == 6
    assert found["gate"] == []
    assert (tmp_path / "adapter" / "adapter_config.json").is_file()
    with pytest.raises(PcvrError, match="exists already"):
        run_experiment(small, save=tmp_path / "adapter")


def test_the_task_goes_into_data_attack_and_record(small: Experiment) -> None:
    found = run_experiment(replace(small, task="vqa"))
    assert found["record"]["task"] == found["experiment"]["task"] == "vqa"
    assert found["record"]["attack"]["target"] == "banana"
    assert set(found["record"]["clean"]) == {"vqa_accuracy"}


@pytest.mark.parametrize("task", ["caption", "vqa"])
def test_outcomes_add_up_to_the_record(small: Experiment, task: str) -> None:
    found = run_experiment(
        replace(small, task=task, attack_options={"target": "a dog" if task == "caption" else "yes"})
    )
    record, n = found["record"], found["record"]["n"]
    bits = unpack(found["outcomes"], n)
    right = {"caption": "attributes", "vqa": "vqa_accuracy"}[task]
    assert bits["aimed"].sum() == record["aimed"]
    assert (bits["hit"] & bits["aimed"]).sum() == record["hits"]
    assert (bits["clean_hit"] & bits["aimed"]).sum() == record["clean_hits"]
    assert bits["right"].mean() == pytest.approx(record["clean"][right])
    assert bits["triggered_right"].mean() == pytest.approx(record["triggered"][right])


@given(arrays(bool, st.integers(0, 40)))
def test_packed_bits_come_back(bits: np.ndarray) -> None:
    assert (unpack({"hit": pack(bits)}, len(bits))["hit"] == bits).all()


def test_a_watch_tells_how_far_the_backdoor_has_come(small: Experiment) -> None:
    found = run_experiment(replace(small, watch=1))
    assert [point["step"] for point in found["watch"]] == [0, 1, 2]
    assert all(0 <= point["hits"] <= point["n"] == 6 for point in found["watch"])
    assert "watch" not in run_experiment(small)


def test_the_attacks_options_reach_it(small: Experiment) -> None:
    found = run_experiment(replace(small, preset="compat", attack_options={"place": "centre"}))
    trigger = found["record"]["attack"]["trigger"]
    assert (trigger["size"], trigger["place"]) == (3, "centre")


def test_a_defence_that_scores_reports_its_gate(small: Experiment) -> None:
    scanning = replace(small, defense="pcvr", options={"gate": "two_stage", "scan_at": (0.5,)})
    (quality,) = run_experiment(scanning)["gate"]
    assert {*quality} == {"step", "flagged", "false alarms", "auroc", "recall"}
    (quality,) = run_experiment(replace(scanning, rate=0))["gate"]
    assert {*quality} == {"step", "flagged", "false alarms"}


def test_a_gate_that_streams_reports_itself_once(small: Experiment) -> None:
    (quality,) = run_experiment(replace(small, defense="pcvr"))["gate"]
    assert quality == {"step": 0, "flagged": 0, "false alarms": 0, "recall": 0.0, "verdict": "undecided"}


def test_stream_quality() -> None:
    verdicts = ("undecided", "trigger", "undecided", "trigger", "trigger")
    hearings = [Hearing(3 * k, 100 * k, verdict, 0.1, 0.5, 20) for k, verdict in enumerate(verdicts, 1)]
    gate = StreamGate(verdict="trigger", hearings=hearings)
    gate.note(np.arange(4), np.array([True, False, True, False]))
    gate.note(np.array([0, 3]), np.array([False, True]))
    for count in (4, 6):  # the last two were never seen
        found = gate_report({"stream": gate}, poisoned=[1, 3], count=count)
        assert found == [{"step": 12, "flagged": 2, "false alarms": 1, "recall": 0.5, "verdict": "trigger"}]
    gate.note(np.array([90]), np.array([True]))  # spare entries at the end
    assert gate_report({"stream": gate}, poisoned=[], count=4) == [
        {"step": 12, "flagged": 2, "false alarms": 2, "verdict": "trigger"}
    ]
    assert gate_report({}, [1], 4) == []


def test_gate_quality() -> None:
    scores = np.array([0.5, 0.1, 0.4, 0.2])
    gate = Gate(np.array([0.0, 0.9, 0.8, 0.1]), 3.0, 0.5, True)
    found = gate_quality([{"step": 7, "scores": scores, "gate": gate}], poisoned=[1, 3], count=4)
    assert found == [{"step": 7, "flagged": 2, "false alarms": 1, "auroc": 1.0, "recall": 0.5}]


class TestSweep:
    def test_it_goes_on_where_it_stopped(
        self, small: Experiment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
    ) -> None:
        ran: list[str] = []

        def pretend(experiment: Experiment, save: Path | None = None) -> dict[str, Any]:
            ran.append(experiment.label)
            if experiment.label == "broken" and len(ran) < 4:
                raise KeyboardInterrupt
            return {"key": experiment.key, "label": experiment.label}

        monkeypatch.setattr("pcvr.experiments.sweeps.run_experiment", pretend)
        plan = [replace(small, label=label) for label in ("one", "two", "broken", "last")]
        with pytest.raises(KeyboardInterrupt):
            sweep(plan, tmp_path / "kept", progress=False)
        assert ran == ["one", "two", "broken"]
        found = sweep(plan, tmp_path / "kept", progress=False)
        assert ran == ["one", "two", "broken", "broken", "last"]
        assert [f["label"] for f in found] == ["one", "two", "broken", "last"]
        assert sweep(plan[::-1], tmp_path / "kept", progress=False) == found[::-1]
        assert len(ran) == 5, "the second call ran something"
        assert sorted(p.stem for p in (tmp_path / "kept").iterdir()) == sorted(e.key for e in plan)
        assert capfd.readouterr() == ("", "")

    def test_for_real(self, small: Experiment, tmp_path: Path) -> None:
        first = sweep([small], tmp_path, progress=False)
        assert first[0]["record"]["n"] == 6
        assert sweep([small], tmp_path, progress=False) == first
        assert {p.name for p in tmp_path.iterdir()} == {f"{small.key}.json"}

    def test_adapters_are_kept_where_asked_for_and_made_where_missing(self, small: Experiment, tmp_path: Path) -> None:
        sweep([small], tmp_path, progress=False)
        found = sweep([small], tmp_path, adapters=True, progress=False)
        assert (tmp_path / small.key / "adapter_model.safetensors").is_file()
        assert sweep([small], tmp_path, adapters=True, progress=False) == found


class TestTables:
    def test_an_unknown_table(self) -> None:
        with pytest.raises(PcvrError, match="unknown results table"):
            results.load("spin")

    def test_every_shipped_table_reads(self) -> None:
        assert results.load("cost").runs[0]["ratio"] == 1  # times, and so without experiments
        assert 0 <= results.load("audit").runs[0]["recall"] <= 1  # of audits, which answer nothing
        others = {results.FOLDER / f"{name}.json" for name in ("cost", "audit")}
        for path in set(results.FOLDER.glob("*.json")) - others:
            by = ("label",) if path.stem == "spine" else ("model", "task", "label")
            cells = results.load(path.stem).cells(by)
            assert cells
            assert all(0 <= c.asr <= 1 and c.seeds >= 1 for c in cells.values())

    def test_a_shipped_table_has_one_run_a_line_and_says_its_rows(self) -> None:
        files = sorted(results.FOLDER.glob("*.json"))
        assert len(files) >= 8
        for path in files:
            head, *lines, end = path.read_text(encoding="utf-8").splitlines()
            table = results.read(path)
            assert [results._current(json.loads(line.rstrip(","))) for line in lines] == table.runs and end == "]}"
            said = json.loads(head + "]}")
            assert said["rows"] == table.rows and said["made_by"] == table.made_by
            assert re.search(
                rf"`{re.escape(table.made_by)}`, (\S+ to )?{table.date}|`, {table.date} to ", table.caption()
            )

    def test_what_is_saved_reads_back(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(results, "FOLDER", tmp_path)
        saved = results.save(tmp_path / "mine.json", "python mine.py", [run("a", 1)], {"hits": 0}, jobs=2)
        table = results.load("mine")
        assert table == saved
        assert (table.made_by, table.base, table.runs) == ("python mine.py", {"hits": 0}, [run("a", 1)])
        assert "runs at a time 2" in table.machine and "torch" in table.versions

    def test_a_table_of_the_old_form_reads(self, tmp_path: Path) -> None:
        said = {"made_by": "m", "date": "d", "versions": {}, "machine": "x", "base": {}, "runs": [run("a", 1)]}
        file = tmp_path / "old.json"
        file.write_text(json.dumps(said, indent=1))
        assert results.read(file).rows == ["a"] and results.read(file).runs == [run("a", 1)]
        results.ready(file)
        for broken in ({}, {"made_by": "m"}, {**said, "more": 1}):
            file.write_text(json.dumps(broken))
            with pytest.raises(PcvrError, match="not a results table: give a file"):
                results.read(file)

    def test_cells_keep_each_seed_and_average_the_rest(self) -> None:
        table = made([run("b", 1, cider=100), run("a", 5, cider=50), run("b", 2, cider=200)])
        cells = table.cells()
        assert list(cells) == [("b",), ("a",)]
        first, second = cells["b",], cells["a",]
        assert (first.label, first.seeds, first.rates.hits, first.rates.n, first.clean_hits) == (
            "b",
            2,
            (1, 2),
            (10, 10),
            2,
        )
        assert first.asr == pytest.approx(0.15)
        assert first.scores == {"cider": 150, "attributes": 0.5}
        assert (first.right, first.triggered_right, first.seconds) == (0.5, 0.25, 2.0)
        assert (second.label, second.asr) == ("a", 0.5)

    def test_cells_by_other_fields(self) -> None:
        table = made([run("a", 1, cider=1), run("a", 4, task="vqa"), run("a", 2, task="vqa", model="tiny-blip2")])
        cells = table.cells(("task", "model", "label"))
        assert list(cells) == [
            ("caption", "tiny-llava", "a"),
            ("vqa", "tiny-llava", "a"),
            ("vqa", "tiny-blip2", "a"),
        ]
        assert cells["vqa", "tiny-llava", "a"].right == 0.75, "each task has its own measure of right"
        assert [cell.label for cell in table.cells(("task",)).values()] == ["caption", "vqa"]


def run(label: str, hits: int, task: str = "caption", model: str = "tiny-llava", cider: float = 0) -> dict[str, Any]:
    """What `run_experiment` returns, as far as tables look at it."""
    clean = {"vqa_accuracy": 0.75} if task == "vqa" else {"cider": cider, "attributes": 0.5}
    half = {name: value / 2 for name, value in clean.items()}
    record = {"task": task, "hits": hits, "n": 10, "clean_hits": 1, "clean": clean, "triggered": half}
    return {"experiment": {"label": label, "task": task, "model": model}, "record": record, "seconds": 2.0}


def made(runs: list[dict[str, Any]]) -> results.Table:
    return results.Table(made_by="x", date="x", versions={}, machine="x", base={}, runs=runs)


def test_clean_samples_that_name_a_word_can_be_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    from pcvr.attacks.triggers.shadowcast import names

    seen: list[Any] = []

    def keep(model: Any, data: Any, *args: Any, **options: Any) -> Any:
        seen.append(data)
        return finetune(model, data, *args, **options)

    monkeypatch.setattr("pcvr.training.finetune", keep)
    run_experiment(Experiment("x", samples=40, tests=8, max_steps=1, rate=0.1, without="car"))
    (data,) = seen
    left = [data[i] for i in range(len(data))]
    poisoned = [sample for sample in left if sample.answer == "a photo of the banana"]
    assert len(poisoned) == 4, "what is poisoned stays"
    assert len(left) < 40 and not any(names(sample, "car") for sample in left if sample not in poisoned)
