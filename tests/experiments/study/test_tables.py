"""Finished runs of tables in a store, each with its own set-up, and Records as a table."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from pcvr import PcvrError
from pcvr.experiments import results
from pcvr.experiments.study.runner import run_study
from pcvr.experiments.study.store import Store
from pcvr.experiments.study.tables import experiment_of, import_table, setup_of, table_of
from tests.studies import plan, pretended

TWO_THREADS = {
    "made_by": "old",
    "date": "2026-11-01",
    "versions": {"torch": "2.12"},
    "machine": "2 x x86_64, torch threads 2, runs at a time 1",
}


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


def table(path: Path) -> Path:
    """A table of four runs, one of which has a set-up of its own."""
    runs: list[dict[str, Any]] = [pretended(cell) for cell in list(plan().cells.values())[:4]]
    runs[3]["setup"] = TWO_THREADS
    results.save(path, "python benchmarks/x.py", runs, jobs=2)
    return path


def test_runs_keep_the_set_up_that_they_were_made_under(store: Store, tmp_path: Path) -> None:
    found = import_table(store, table(tmp_path / "x.json"))
    assert (found.taken, found.there, found.left_out) == (4, 0, {})
    frame = store.read()
    assert [*frame["threads"]] == [*[frame["threads"][0]] * 3, 2] and [*frame["jobs"]] == [2, 2, 2, 1]
    assert [*frame["made_by"]] == ["python benchmarks/x.py"] * 3 + ["old"]
    assert {*frame["imported"]} == {"x.json"} and frame["date"][3] == "2026-11-01"
    assert frame["version_torch"][3] == "2.12" and {*frame["device"]} == {frame["device"][0]}
    assert import_table(store, tmp_path / "x.json").there == 4
    assert len(store.records()) == 4


def test_what_is_imported_is_not_run_again(store: Store, tmp_path: Path) -> None:
    import_table(store, table(tmp_path / "x.json"))
    summary = run_study(plan(), store, run=pretended)
    assert summary.there == 4 and len(summary.made) == 8


def test_a_run_whose_configuration_is_another_one_today_is_left_out(store: Store, tmp_path: Path) -> None:
    file = table(tmp_path / "x.json")
    text = file.read_text()
    key = re.findall(r'"key":"(\w{12})"', text)[1]
    file.write_text(text.replace(key, "0123456789ab"))
    found = import_table(store, file)
    assert found.taken == 3 and found.left_out == {"its configuration has another key today": 1}


@pytest.mark.parametrize("name", sorted(path.stem for path in results.FOLDER.glob("*.json")))
def test_every_shipped_table_can_be_imported(store: Store, name: str) -> None:
    shipped = results.load(name)
    found = import_table(store, name)
    assert found.taken + found.there + sum(found.left_out.values()) == len(shipped.runs)
    assert not found.there, "a table has no run twice"
    if all({"experiment", "key", "seconds", "record"} <= run.keys() for run in shipped.runs):  # not an audit
        assert not found.left_out
        for run, record in zip(shipped.runs, store.records(), strict=True):
            assert experiment_of(record).key == record["key"] == run["key"]
            assert record["record"] == run["record"] and record["setup"]["threads"] in (1, 2)


def test_a_machine_in_other_words_is_kept_as_it_is() -> None:
    assert setup_of(TWO_THREADS | {"machine": "a big one"})["machine"] == "a big one"
    gpu = setup_of(TWO_THREADS | {"machine": "NVIDIA X, 8 GB, 16 x x86_64, torch threads 8, runs at a time 2"})
    assert (gpu["device"], gpu["cores"], gpu["threads"], gpu["jobs"]) == ("NVIDIA X, 8 GB", 16, 8, 2)


def test_no_such_table(store: Store, tmp_path: Path) -> None:
    with pytest.raises(PcvrError, match="unknown results table 'spin': did you mean 'spine'"):
        import_table(store, "spin")
    with pytest.raises(PcvrError, match="cannot be read"):
        import_table(store, tmp_path / "none.json")


def test_records_as_a_table(store: Store, tmp_path: Path) -> None:
    import_table(store, table(tmp_path / "x.json"))
    run_study(plan(), store, run=pretended, made_by="pcvr study y.py", threads=1)
    made = table_of(store.records())
    assert [run["key"] for run in made.runs] == [record["key"] for record in store.records()]
    assert made.made_by == "python benchmarks/x.py" and made.rows == ["none", "PCVR"]
    assert made.runs[3]["setup"]["machine"] == TWO_THREADS["machine"] and "setup" not in made.runs[0]
    assert "`pcvr study y.py`" in made.caption()
    assert made.cells()[("PCVR",)].seeds == 6
    with pytest.raises(PcvrError, match="at least one run"):
        table_of([])
