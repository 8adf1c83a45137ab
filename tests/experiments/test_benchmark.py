"""The main that benchmarks share: rows are added and replaced, others stay, and a caption says how each was made."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict, replace
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from benchmarks import attacks as attacks_benchmark
from pcvr import PcvrError
from pcvr.defenses import get_defense
from pcvr.experiments import HEADLINE, Experiment, benchmark, results
from pcvr.experiments.benchmark import cell_lines, make_table, table_parser

PLAN = [Experiment(label, seed=seed) for label in ("a", "b") for seed in (0, 1)]
NEW = [Experiment("c")]
Make = Callable[..., results.Table]


def pretended(experiment: Experiment, save: Path | None = None, hits: int = 1) -> dict[str, Any]:
    """What `run_experiment` returns, without the training."""
    scores = {"bleu4": 50.0, "attributes": 0.5}
    record = {"task": "caption", "hits": hits, "n": 10, "clean_hits": 0, "clean": scores, "triggered": scores}
    return {"experiment": asdict(experiment), "key": experiment.key, "record": record, "seconds": 1.0}


def again(experiment: Experiment, save: Path | None = None) -> dict[str, Any]:
    """Another result."""
    return pretended(experiment, save, hits=9)


@pytest.fixture
def make(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Make:
    """Calls the shared main with a command line, as a script does."""

    def call(*words: str, run: Any = pretended, **options: Any) -> results.Table:
        argv = ["x/mine.py", *words]
        monkeypatch.setattr(sys, "argv", argv)
        given = table_parser("mine", "").parse_args([*words, "--out", str(tmp_path / "mine.json"), *folder])
        return make_table(given, PLAN, more=NEW, run=run, **options)

    folder = ["--runs", str(tmp_path / "runs")]
    return call


def hits(table: results.Table) -> list[tuple[str, int]]:
    return [(run["experiment"]["label"], run["record"]["hits"]) for run in table.runs]


class TestOnly:
    def test_a_whole_table_has_the_plan_in_its_order(self, make: Make, tmp_path: Path) -> None:
        table = make(base=lambda: {"hits": 0})
        assert hits(table) == [("a", 1), ("a", 1), ("b", 1), ("b", 1)] and table.rows == ["a", "b"]
        assert table.base == {"hits": 0} and table.made_by == "python benchmarks/mine.py"
        assert results.read(tmp_path / "mine.json") == table
        assert not any("setup" in run for run in table.runs) and table.caption().count("`") == 2
        assert not list((tmp_path / "runs").iterdir()), "the table has them now"

    def test_it_replaces_in_place_adds_at_the_end_and_keeps_the_others(self, make: Make) -> None:
        whole = make(base=lambda: {"hits": 0})
        table = make("--only", "c", "--only", "a", run=again, base=lambda: pytest.fail("the base stays"))
        assert hits(table) == [("a", 9), ("a", 9), ("b", 1), ("b", 1), ("c", 9)]
        assert table.runs[2:4] == whole.runs[2:4] and table.base == whole.base
        assert table.setup == whole.setup, "the head stays"

    def test_rows_that_got_longer_or_shorter(self, make: Make) -> None:
        make()
        longer = [Experiment("a", seed=seed) for seed in range(3)]
        table = make("--only", "a", run=again, follow=lambda done: longer[len(done) :])
        assert hits(table) == [("a", 9)] * 3 + [("b", 1)] * 2
        assert [run["experiment"]["seed"] for run in table.runs] == [0, 1, 2, 0, 1]
        assert hits(make("--only", "a")) == [("a", 1)] * 2 + [("b", 1)] * 2

    def test_without_a_table_it_makes_one_of_these_rows(self, make: Make) -> None:
        assert make("--only", "b").rows == ["b"]

    def test_a_table_of_the_old_form_takes_rows_too(self, make: Make, tmp_path: Path) -> None:
        old = {"made_by": "m", "date": "d", "versions": {}, "machine": "x", "base": {}, "runs": [pretended(PLAN[0])]}
        (tmp_path / "mine.json").write_text(json.dumps(old, indent=1))
        table = make("--only", "c")
        assert hits(table) == [("a", 1), ("c", 1)] and table.caption().startswith("`m`, d, x; c: `python")

    def test_an_unknown_row_is_refused_before_anything_runs(self, make: Make, tmp_path: Path) -> None:
        with pytest.raises(PcvrError, match="unknown row 'd'"):
            make("--only", "d", run=lambda *_, **__: pytest.fail("it ran"))
        with pytest.raises(PcvrError, match="--jobs is 0: give a whole number from 1 up"):
            make("--jobs", "0")
        (tmp_path / "mine.json").write_text("{}")
        with pytest.raises(PcvrError, match="exists already"):
            make()

    def test_print_only_reads(self, make: Make) -> None:
        table = make()
        assert make("--print", run=lambda *_, **__: pytest.fail("it ran")) == table
        (line, other) = cell_lines(table, ("label",))
        assert line.startswith("a  ASR  10.0 %") and "seeds 2" in line and "BLEU-4 50.0" in other


class TestInterrupted:
    def test_the_old_table_stays_and_the_next_call_goes_on(self, make: Make, tmp_path: Path) -> None:
        make()
        before = (tmp_path / "mine.json").read_bytes()
        ran = []

        def breaks(experiment: Experiment, save: Path | None = None) -> dict[str, Any]:
            ran.append(experiment.seed)
            if len(ran) == 2:
                raise KeyboardInterrupt
            return again(experiment)

        with pytest.raises(KeyboardInterrupt):
            make("--only", "a", run=breaks)
        assert (tmp_path / "mine.json").read_bytes() == before
        table = make("--only", "a", run=breaks)
        assert ran == [0, 1, 1] and hits(table)[:2] == [("a", 9)] * 2

    def test_a_process_that_is_killed(self, make: Make, tmp_path: Path) -> None:
        make()
        before = (tmp_path / "mine.json").read_bytes()
        code = (
            "import os, sys\n"
            "from tests.experiments.test_benchmark import PLAN, pretended\n"
            "from pcvr.experiments.benchmark import make_table, table_parser\n"
            "def run(experiment, save=None):\n"
            "    if experiment.seed:\n"
            "        os._exit(9)\n"
            "    return pretended(experiment, save)\n"
            "make_table(table_parser('mine', '').parse_args(), PLAN, run=run)\n"
        )
        out, runs = str(tmp_path / "mine.json"), str(tmp_path / "runs")
        words = [sys.executable, "-c", code, "--only", "b", "--out", out, "--runs", runs]
        root = Path(__file__).resolve().parents[2]
        done = subprocess.run(words, cwd=root, env={**os.environ, "PYTHONPATH": str(root)}, timeout=120, check=False)
        assert done.returncode == 9
        assert (tmp_path / "mine.json").read_bytes() == before
        assert len(list((tmp_path / "runs").iterdir())) == 1


class TestMissing:
    def test_what_is_there_stays_and_only_the_rest_runs(self, make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
        with monkeypatch.context() as patch:
            patch.setattr(benchmark, "setup_here", lambda *_: {**results.setup_here("x"), "machine": "old"})
            first = make("--only", "a")
        ran: list[str] = []

        def counted(experiment: Experiment, save: Path | None = None) -> dict[str, Any]:
            ran.append(experiment.label)
            return again(experiment)

        table = make("--missing", run=counted, base=lambda: pytest.fail("the base stays"))
        assert ran == ["b", "b"] and hits(table) == [("a", 1), ("a", 1), ("b", 9), ("b", 9)]
        assert table.runs[:2] == first.runs and table.setup == first.setup
        assert table.caption().startswith("a: `x`, ") and "; b: `python benchmarks/mine.py`, " in table.caption()
        assert make("--missing", run=lambda *_, **__: pytest.fail("it ran")) == table

    def test_a_row_gets_more_seeds(self, make: Make) -> None:
        make()
        longer = [Experiment("a", seed=seed) for seed in range(3)]
        table = make("--missing", run=again, follow=lambda done: longer[2:] if len(done) == 4 else [])
        assert hits(table) == [("a", 1), ("a", 1), ("a", 9), ("b", 1), ("b", 1)]

    def test_the_table_is_written_after_each_row(self, make: Make, tmp_path: Path) -> None:
        def breaks(experiment: Experiment, save: Path | None = None) -> dict[str, Any]:
            if experiment.label == "b":
                raise KeyboardInterrupt
            return pretended(experiment)

        with pytest.raises(KeyboardInterrupt):
            make("--missing", run=breaks, base=lambda: {"hits": 0})
        table = results.read(tmp_path / "mine.json")
        assert hits(table) == [("a", 1), ("a", 1)] and table.base == {"hits": 0}

    def test_the_notes_go_into_the_table(self, make: Make, tmp_path: Path) -> None:
        for words in ((), ("--missing",), ("--only", "c")):
            assert make(*words, notes=["looked at", *words]).notes == results.read(tmp_path / "mine.json").notes
        assert list(results.read(tmp_path / "mine.json").notes) == ["looked at", "--only", "c"]

    def test_a_table_that_is_finished_as_a_whole_refuses(self, make: Make) -> None:
        with pytest.raises(PcvrError, match="--missing is for tables whose runs stand alone"):
            make("--missing", finish=lambda runs: runs)


class TestCaption:
    def test_runs_of_several_days_say_so(self, make: Make) -> None:
        table = make()
        days = ["2026-02-03", "2026-01-09"]
        runs = [run | {"record": {"date": day}} for run, day in zip(table.runs, days, strict=False)]
        table = replace(table, runs=runs, date="2026-01-20")
        assert ", 2026-01-09 to 2026-02-03, " in table.caption()
        table = replace(table, runs=runs[:1], date="2026-02-03")
        assert ", 2026-02-03, " in table.caption()

    def test_a_row_of_another_set_up_keeps_its_own(self, make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
        make()
        other = {**results.setup_here("x"), "versions": {"torch": "9.9"}}
        monkeypatch.setattr(benchmark, "setup_here", lambda made_by, jobs: other | {"machine": f"jobs {jobs}"})
        table = make("--only", "b")
        head, row = table.caption().split("; ")
        assert "torch 9.9" not in head and head.startswith("`python benchmarks/mine.py`, ")
        assert row.startswith("b: `x`, ") and row.endswith("torch 9.9, jobs 1")
        assert ["setup" in run for run in table.runs] == [False, False, True, True]

    def test_runs_of_an_interrupted_call_keep_theirs(self, make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
        with monkeypatch.context() as patch:
            patch.setattr(benchmark, "setup_here", lambda *_: {**results.setup_here("x"), "machine": "old"})

            def breaks(experiment: Experiment, save: Path | None = None) -> dict[str, Any]:
                if experiment == PLAN[1]:
                    raise KeyboardInterrupt
                return pretended(experiment)

            with pytest.raises(KeyboardInterrupt):
                make(run=breaks)
        assert "; a (1 of 2 runs): `x`, " in make().caption()

    def test_a_head_that_made_no_row_is_not_named(self, make: Make) -> None:
        make()
        table = make("--only", "a", "--only", "b")
        assert table.caption().startswith("a, b: `python benchmarks/mine.py --only a --only b`")


class TestPlans:
    @pytest.mark.parametrize("name", ["spine", "attacks", "defenses", "families", "distributions", "premise"])
    def test_a_plan_has_the_rows_that_are_shipped(self, name: str) -> None:
        plan = import_module(f"benchmarks.{name}").plan()
        table = results.load(name)
        declared = {str(getattr(experiment, table.by)) for experiment in plan}
        assert set(table.rows) <= declared and len({experiment.key for experiment in plan}) == len(plan)
        for run in table.runs:  # stored options may have older names
            get_defense(run["experiment"]["defense"], **run["experiment"]["options"])
            assert Experiment(**run["experiment"]).key == run["key"], "a result keeps its name"

    def test_rivals_have_rows_at_their_papers_settings(self) -> None:
        rows = {e.label: e for e in import_module("benchmarks.defenses").rivals()}
        assert {"ortho_purify", "racer", "fine_prune", "crow", "strip", "early_stop", "clean_tune"} <= rows.keys()
        wanted: dict[str, tuple[dict[str, Any], int]] = {
            "early_stop, a quarter": ({"fraction": 0.25}, 0),
            "crow, clean": ({"on": "clean"}, 100),
            "clean_tune, full rate": ({"rate": 1.0}, 200),
            "strip, paper": ({"blend": "add", "views": 100}, 200),
            "ortho_purify": ({}, 200),
            "racer": ({}, 200),
            "crow": ({}, 0),
        }
        for label, (options, clean) in wanted.items():
            assert (rows[label].options, rows[label].clean) == (options, clean)
            get_defense(rows[label].defense, **options)

    def test_the_rates_of_the_shipped_table_are_those_that_the_plan_asks_for(self) -> None:
        shipped = {run["key"]: run for run in results.load("attacks").runs}
        done = [shipped[experiment.key] for experiment in attacks_benchmark.plan() if experiment.key in shipped]
        while more := attacks_benchmark.other_rates(done):
            done += [shipped[experiment.key] for experiment in more]
        assert len(done) == len(shipped) and {run["experiment"]["rate"] for run in done} == {0, 0.005, 0.01, 0.02, 0.05}

    def test_one_that_does_not_take_is_tried_once_more(self) -> None:
        assert attacks_benchmark.next_rate({0.05: [0.95, 0.5]}) == 0.1
        assert attacks_benchmark.next_rate({0.05: [0.5], 0.1: [0.5]}) is None
        assert attacks_benchmark.next_rate({0.05: [0.95], 0.02: [0.5]}) is None

    def test_the_headline_attacks_are_declared_once(self, root: Path) -> None:
        files = [*root.glob("benchmarks/*.py"), *root.glob("pcvr/**/*.py"), *root.glob("tools/*.py")]
        found = [f.name for f in files if all(f'"{name}"' in f.read_text("utf-8") for name in HEADLINE)]
        assert found == ["experiment.py"]


def test_adapters_of_the_first_seed_are_shipped_once(tmp_path: Path) -> None:
    families = import_module("benchmarks.families")
    runs = [pretended(Experiment("clean", model="m", seed=seed)) for seed in (0, 1)]
    runs.append(pretended(Experiment("clean-pcvr", model="m", defense="pcvr")))
    for run in runs:
        (tmp_path / "runs" / run["key"]).mkdir(parents=True)
        (tmp_path / "runs" / run["key"] / "seed").write_text(str(run["experiment"]["seed"]))
    for _ in range(2):  # the second time there is nothing left to ship, and what was shipped stays
        families.ship(runs, tmp_path / "runs", tmp_path / "adapters")
        place = tmp_path / "adapters" / "m" / "caption-clean"
        assert (place / "seed").read_text() == "0" and json.loads((place / "record.json").read_text()) == runs[0]
        assert [each.name for each in (tmp_path / "adapters" / "m").iterdir()] == ["caption-clean"]
        assert not list((tmp_path / "runs").iterdir())
