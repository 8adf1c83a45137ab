"""``pcvr study``: it runs a plan, shows and reports its store, and refuses in a sentence what it cannot use."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from pcvr.cli import main
from pcvr.cli.studying import command
from pcvr.experiments.results import load
from pcvr.experiments.run import start_of
from pcvr.experiments.study import load_plan, reproduce
from pcvr.experiments.study.store import Store
from pcvr.experiments.study.tables import experiment_of
from tests import studies

Command = Callable[..., tuple[int, str, str]]
PLAN = """
from pcvr.experiments import Experiment
PLAN = [
    Experiment(label, defense, attack=attack, seed=seed, tests=40)
    for label, defense in (("none", "none"), ("PCVR", "pcvr"))
    for attack in ("badnets", "sig")
    for seed in range(2)
]
"""


@pytest.fixture
def pcvr(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Command:
    """Runs ``pcvr study plan.py ...`` with pretended runs in a folder; gives exit code, output and errors."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    (tmp_path / "plan.py").write_text(PLAN)
    monkeypatch.setattr("pcvr.experiments.study.worker.run_experiment", lambda cell, **_: studies.pretended(cell))

    def run(*words: object, plan: str = "plan.py") -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["pcvr", "study", plan, *map(str, words)])
        with pytest.raises(SystemExit) as left:
            main()
        out, err = capsys.readouterr()
        return int(left.value.code or 0), out, err

    return run


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "runs" / "study" / "plan")


def test_it_runs_what_is_lacking_and_says_what_it_does(pcvr: Command, store: Store) -> None:
    code, out, err = pcvr("--only", "none", "--threads", 1)
    assert code == 0 and out == "runs/study/plan: 4 cells made, 0 were there\n"
    lines = err.splitlines()
    assert len(lines) == 4 and lines[0].startswith(
        "[1/4] none, badnets 5 %, caption, tiny-llava, seed 0: ASR 100.0 % ["
    )
    assert "; left: about " in lines[0] and "left" not in lines[3]
    record = store.records()[0]
    assert record["setup"]["made_by"] == "pcvr study plan.py --threads 1" and record["setup"]["threads"] == 1
    code, out, err = pcvr("--threads", 1)
    assert (
        code == 0 and out == "runs/study/plan: 4 cells made, 4 were there\n" and err.startswith("[5/8] PCVR, badnets")
    )
    assert pcvr()[1].endswith("0 cells made, 8 were there\n")


def test_list_print_and_report(pcvr: Command, tmp_path: Path) -> None:
    pcvr("--only", "none", "--threads", 1)
    code, out, _ = pcvr("--list")
    assert code == 0 and out.count("done, 1 threads") == 4 and out.count("not run") == 4
    assert "4 of 8 cells are done" in out and all(key in out for key in load_plan(tmp_path / "plan.py").cells)
    code, out, _ = pcvr("--print", "--only", "none")
    assert code == 0 and "100.0 % in each of 2 seeds" in out and "PCVR" not in out
    code, out, _ = pcvr("--html", "page.html")
    assert code == 0 and out == "page.html: the report\n"
    page = (tmp_path / "page.html").read_text()
    assert all(key in page for key in load_plan(tmp_path / "plan.py").cells) and "not run" in page
    assert pcvr("--html", "page.html")[0] == 0, "a report is replaced"


def test_a_narrow_terminal_shows_whole_keys(pcvr: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    out = pcvr("--list")[1]
    assert all(key in out for key in load_plan(tmp_path / "plan.py").cells)


def test_a_failed_cell_is_named_and_the_code_says_so(
    pcvr: Command, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pcvr.experiments.study.worker.run_experiment", lambda cell, **_: studies.failing(cell))
    code, out, err = pcvr()
    assert code == 1 and out == "runs/study/plan: 4 cells made, 4 failed, 0 were there\n"
    key = next(iter(store.failures()))
    assert f"failed: {key} none, badnets: RuntimeError: no memory for this\n" in err
    assert "failures.jsonl; the same command tries these cells again." in err
    assert pcvr("--list")[1].count("failed") == 4


def test_a_torn_line_is_reported(pcvr: Command, store: Store) -> None:
    pcvr("--only", "none")
    store.file.write_bytes(store.file.read_bytes()[:-40])
    code, out, err = pcvr("--only", "none")
    assert code == 0 and "1 cells made, 3 were there" in out
    assert "note: the last line of runs/study/plan/records.jsonl was torn" in err


def test_a_cell_is_made_again_and_compared(pcvr: Command, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    pcvr("--only", "none", "--threads", 1)
    key = store.records()[0]["key"]
    code, out, _ = pcvr("--reproduce", key[:6])
    assert code == 0 and "the cell was reproduced." in out and "agrees" in out
    assert "hit: 0 test samples came out otherwise" in out
    wrong = lambda cell, **_: studies.pretended(cell) | {"record": store.records()[0]["record"] | {"hits": 7}}  # noqa: E731
    monkeypatch.setattr("pcvr.experiments.study.worker.run_experiment", wrong)
    code, out, _ = pcvr("--reproduce", key)
    assert code == 1 and "differs by more than 0" in out and "the cell was not reproduced." in out
    assert len(store.records()) == 4
    assert not reproduce(store, key).good


def test_a_result_is_withdrawn_and_made_again(pcvr: Command, store: Store) -> None:
    pcvr("--only", "none")
    key = store.records()[0]["key"]
    others = [start_of(experiment_of(record), store.folder / "starts") for record in store.records()]
    for start in others:
        start.mkdir(parents=True)
    code, out, _ = pcvr("--withdraw", key, "--because", "the trigger was put right")
    assert [start.exists() for start in others] == [False, True, True, True], "what was wrong may lie in its start"
    assert code == 0 and "1 results withdrawn" in out and len(store.records()) == 3
    assert "1 cells made, 3 were there" in pcvr("--only", "none")[1]
    assert json.loads(store.file.read_text().splitlines()[4])["why"] == "the trigger was put right"


def test_finished_runs_are_imported(pcvr: Command, store: Store) -> None:
    code, out, _ = pcvr("--import", "families", "--import", "spine", "--store", "other", "--list")
    runs = len(load("families").runs)
    assert code == 0 and f"families: {runs} runs taken, 0 were there" in out and "0 of 8 cells are done" in out
    frame = Store(Path("other")).read()
    assert {*frame["threads"]} == {1} and {*frame["imported"]} == {"families.json", "spine.json"}
    assert len(frame) > runs > 0
    assert pcvr("--import", "families", "--store", "other")[1] == f"families: 0 runs taken, {runs} were there\n"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--only", "non"], "unknown row 'non': did you mean 'none'?"),
        (["--jobs", "0"], "jobs is 0: give a whole number from 1 up."),
        (["--backend", "slurm"], "unknown backend 'slurm'"),
        (["--address", "tcp://x:1"], "backend 'loky' has none"),
        (["--list", "--jobs", "2"], "--jobs is for running the plan, but --list runs nothing of it"),
        (["--reproduce", "feedfeed"], "has no cell 'feedfeed': give a key that --list shows."),
        (["--reproduce", "feedfeed", "--list"], "--reproduce and --list are two different things"),
        (["--reproduce", "feedfeed", "--only", "none"], "--only chooses rows"),
        (["--import", "spine", "--only", "none"], "--only chooses rows"),
        (["--import", "spin"], "unknown results table 'spin': did you mean 'spine'?"),
        (["--withdraw", "feedfeed", "--because", "x"], "has no cell 'feedfeed'"),
        (["--because", "x"], "--because goes with --withdraw CELL"),
        (["--html", "plan.py"], "plan.py exists already: choose a name ending in .html"),
        (["--html", "/proc/x.html"], "/proc/x.html could not be written"),
        (["--store", "/proc/x"], "/proc/x could not be written"),
        (["--store", "plan.py"], "plan.py"),
    ],
)
def test_a_wrong_call_is_one_sentence(pcvr: Command, store: Store, words: list[str], said: str) -> None:
    code, out, err = pcvr(*words)
    assert code == 2 and out == "", err
    (line,) = [line for line in err.splitlines() if line.strip()]
    assert line.startswith("pcvr: ") and said in line and line.endswith((".", "?"))
    assert not store.records()


@pytest.mark.parametrize("text", ["PLAN = [", "PLAN = 3", "import nothing_of_this_name"])
def test_a_wrong_plan_is_one_sentence(pcvr: Command, tmp_path: Path, text: str) -> None:
    (tmp_path / "bad.py").write_text(text)
    code, out, err = pcvr(plan="bad.py")
    assert code == 2 and out == "" and len(err.splitlines()) == 1 and err.startswith("pcvr: ") and "bad.py" in err
    assert "none.py" in pcvr(plan="none.py")[2]


def test_a_cell_that_cannot_be_built_is_refused_before_any_work(pcvr: Command, tmp_path: Path) -> None:
    text = "from pcvr.experiments import Experiment\nPLAN = [Experiment('a'), Experiment('b', 'pcrv')]"
    (tmp_path / "bad.py").write_text(text)
    code, _, err = pcvr(plan="bad.py")
    assert code == 2 and "(b): unknown defence 'pcrv': did you mean 'pcvr'" in err
    assert not (tmp_path / "runs").exists()


def test_the_command_in_a_record_has_no_places(monkeypatch: pytest.MonkeyPatch) -> None:
    words = "study p.py --store /home/me/x --jobs 2 --only=a --only b --address tcp://me:1 --threads 1".split()
    monkeypatch.setattr(sys, "argv", ["/usr/bin/pcvr", *words])
    assert command() == "pcvr study p.py --jobs 2 --threads 1"
