"""Running a plan: killed at any moment it goes on, whoever runs the cells, and a cell that fails stops no other."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pcvr import PcvrError
from pcvr.experiments import Experiment
from pcvr.experiments.study import runner
from pcvr.experiments.study.plan import Plan, plan_of
from pcvr.experiments.study.runner import Progress, run_study
from pcvr.experiments.study.store import Store
from tests import studies
from tests.studies import plan, pretended

TWO: dict[str, Any] = {"threads": 1, "jobs": 2}


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


def results(store: Store) -> dict[str, dict[str, Any]]:
    """The Records without what differs from process to process."""
    return {r["key"]: {name: r[name] for name in r if name not in ("wall", "setup")} for r in store.records()}


def expected(whole: Plan) -> dict[str, dict[str, Any]]:
    return {key: pretended(cell) for key, cell in whole.cells.items()}


def test_each_cell_is_run_once_in_the_plans_order(store: Store) -> None:
    whole, told = plan(), list[Progress]()
    summary = run_study(whole, store, run=pretended, made_by="pcvr study x.py", told=told.append)
    assert summary.made == list(whole.cells) and not summary.failed and summary.there == 0
    assert results(store) == expected(whole)
    assert [(p.done, p.total, p.left.unmeasured) for p in told][-1] == (12, 12, 0)
    again = run_study(whole, store, run=lambda _: pytest.fail("it ran"))
    assert again.there == 12 and again.made == []
    longer = plan(seeds=4)
    assert len(run_study(longer, store, run=pretended).made) == 4
    assert results(store) == expected(longer)


def test_a_record_says_how_it_was_made(store: Store) -> None:
    run_study(plan(seeds=1), store, run=pretended, threads=1, made_by="pcvr study x.py")
    setup = store.records()[0]["setup"]
    assert setup["made_by"] == "pcvr study x.py" and setup["versions"]["torch"] and setup["machine"]
    assert (setup["threads"], setup["jobs"], setup["backend"]) == (1, 1, "loky") and setup["cores"] >= 1
    assert setup["device"] and setup["date"] >= "2026"


@pytest.mark.slow
def test_killed_at_twenty_random_moments_nothing_is_lost_or_doubled(tmp_path: Path, root: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.kill_study", str(tmp_path)],
        cwd=root,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    print(done.stdout)
    assert done.stdout.startswith("20 kills, ")


class TestProcesses:
    def test_they_give_the_same_store(self, store: Store) -> None:
        whole = plan()
        began, spent = time.monotonic(), sum(os.times()[:4])
        run_study(whole, store, run=pretended, **TWO)
        print(f"{time.monotonic() - began:.1f} s for 12 cells by 2 processes")
        assert results(store) == expected(whole)
        assert {(r["setup"]["jobs"], r["setup"]["threads"]) for r in store.records()} == {(2, 1)}
        overhead = (sum(os.times()[:4]) - spent) / len(whole.cells)  # of this process and those that it has ended
        print(f"overhead {overhead:.2f} s of the processor a cell, starting the processes included")
        assert overhead < 2

    def test_the_threads_are_the_cores_over_the_jobs(self, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("pcvr.experiments.study.runner.cores", lambda: 7)
        monkeypatch.setenv("OMP_NUM_THREADS", "5")
        run_study(plan(seeds=1), store, jobs=3, run=studies.said_threads)
        assert {r["seconds"] for r in store.records()} == {2}
        run_study(plan(seeds=2), store, threads=4, run=studies.said_threads)
        assert [r["seconds"] for r in store.records()][-1] == 4
        assert os.environ["OMP_NUM_THREADS"] == "5"

    def test_a_cell_that_fails_is_noted_and_the_others_go_on(self, store: Store) -> None:
        whole, told = plan(), list[Progress]()
        summary = run_study(whole, store, run=studies.failing, told=told.append, **TWO)
        failed = [key for key, cell in whole.cells.items() if cell.seed == 1]
        assert sorted(summary.failed) == sorted(failed) and len(summary.made) == 8
        assert set(summary.failed.values()) == {"RuntimeError: no memory for this"}
        assert told[-1].failed == 4 and told[-1].done == 8
        entry = store.failures()[failed[0]]
        assert "in failing" in entry["traceback"] and entry["experiment"]["seed"] == 1 and entry["setup"]["jobs"] == 2
        assert sorted(run_study(whole, store, run=pretended).made) == sorted(failed), "the next call tries them again"

    def test_so_is_one_that_kills_its_process(self, store: Store) -> None:
        whole = plan(attacks="badnets")
        summary = run_study(whole, store, run=studies.dying, **TWO)
        failed = [key for key, cell in whole.cells.items() if cell.seed == 1]
        assert sorted(summary.failed) == sorted(failed)
        assert all("killed twice" in error for error in summary.failed.values())
        assert len(summary.made) == 4 and len(store.records()) == 4

    def test_a_result_of_another_cell_or_one_that_is_no_json_is_a_failure(self, store: Store) -> None:
        summary = run_study(plan(seeds=1), store, run=studies.of_another_cell)
        assert not store.records() and "has" in next(iter(summary.failed.values()))
        unwritable: Callable[[Experiment], Any] = lambda cell: pretended(cell) | {"x": object()}  # noqa: E731
        assert "JSON" in next(iter(run_study(plan(seeds=1), store, run=unwritable).failed.values()))

    @pytest.mark.slow
    def test_processes_end_soon_after_a_parent_that_was_killed(self, tmp_path: Path, root: Path) -> None:
        code = (
            "import sys\nfrom pathlib import Path\nfrom tests.studies import plan, slow\n"
            "from pcvr.experiments.study import Store, run_study\n"
            "run_study(plan(), Store(Path(sys.argv[1])), jobs=2, threads=1, run=slow)"
        )
        pids = tmp_path / "pids"
        pids.mkdir()
        environment = os.environ | {"PCVR_TEST_PIDS": str(pids)}
        parent = subprocess.Popen([sys.executable, "-c", code, str(tmp_path / "store")], cwd=root, env=environment)
        try:
            wait_until(lambda: len(list(pids.iterdir())) == 2)
            orphans = [int(file.name) for file in pids.iterdir()]
            assert all(map(alive, orphans))
        finally:
            parent.send_signal(signal.SIGKILL)
            parent.wait()
        wait_until(lambda: not any(alive(pid) for pid in orphans))


def alive(pid: int) -> bool:
    import psutil

    return psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE


def wait_until(true: Callable[[], bool]) -> None:
    for _ in range(2000):
        if true():
            return
        time.sleep(0.1)
    raise AssertionError("it did not happen in 200 s")


@pytest.mark.slow
class TestDask:
    @pytest.mark.filterwarnings("ignore::DeprecationWarning:distributed.*")
    def test_two_local_workers_give_the_same_store(self, tmp_path: Path) -> None:
        whole = plan()
        run_study(whole, Store(tmp_path / "loky"), run=pretended, **TWO)
        run_study(whole, Store(tmp_path / "dask"), run=pretended, backend="dask", **TWO)
        assert results(Store(tmp_path / "dask")) == results(Store(tmp_path / "loky")) == expected(whole)
        made = {(r["setup"]["backend"], r["setup"]["jobs"]) for r in Store(tmp_path / "dask").records()}
        assert made == {("dask", 2)}
        summary = run_study(plan(seeds=4), Store(tmp_path / "dask"), run=pretended, backend="dask", **TWO)
        assert summary.there == 12 and len(summary.made) == 4

    def test_a_cell_that_kills_its_worker_stops_no_other(self, store: Store) -> None:
        whole = plan(attacks="badnets")
        summary = run_study(whole, store, run=studies.dying, backend="dask", **TWO)
        assert len(summary.made) == 4 and {whole.cells[key].seed for key in summary.failed} == {1}
        assert all("killed twice" in error for error in summary.failed.values())

    def test_a_cluster_without_workers_is_not_waited_for_without_end(
        self, store: Store, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        from distributed import LocalCluster

        monkeypatch.setattr(runner, "_LOOK", 0.2)
        monkeypatch.setattr(runner, "_PATIENCE", 1.0)
        with LocalCluster(n_workers=1, threads_per_worker=1, dashboard_address=":0", processes=False) as cluster:

            def told(progress: Progress) -> None:
                cluster.scale(0)
                wait_until(lambda: not cluster.scheduler.workers)

            with pytest.raises(PcvrError, match="the cluster has had no worker for 1 s: start workers"):
                run_study(plan(), store, run=pretended, backend="dask", address=cluster.scheduler_address, told=told)
        assert len(store.records()) == 1

    def test_workers_with_several_threads_are_refused(self, store: Store) -> None:
        from distributed import LocalCluster

        said = r"1 workers with \[2\] threads each: start at least one, with --nthreads 1"
        here = LocalCluster(n_workers=1, threads_per_worker=2, dashboard_address=":0", processes=False)
        with here as cluster, pytest.raises(PcvrError, match=said):
            run_study(plan(), store, run=pretended, backend="dask", address=cluster.scheduler_address)

    def test_an_address_without_a_scheduler(self, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("pcvr.experiments.study.pools._ANSWER", 1)
        with pytest.raises(PcvrError, match=r"no cluster answers at 'tcp://127.0.0.1:1'"):
            run_study(plan(), store, run=pretended, backend="dask", address="tcp://127.0.0.1:1")


class TestErrors:
    @pytest.mark.parametrize(
        ("how", "words"),
        [
            ({"jobs": 0}, "jobs is 0: give a whole number from 1 up"),
            ({"threads": -1}, "threads is -1"),
            ({"backend": "dusk"}, "unknown backend 'dusk': did you mean 'dask'"),
            ({"address": "tcp://a:1"}, "address is 'tcp://a:1', but backend 'loky' has none"),
        ],
    )
    def test_of_arguments(self, store: Store, how: dict[str, Any], words: str) -> None:
        with pytest.raises(PcvrError, match=words):
            run_study(plan(), store, run=lambda _: pytest.fail("it ran"), **how)

    @pytest.mark.parametrize(("backend", "package"), [("ray", "ray"), ("dask", "distributed")])
    def test_a_missing_package_is_one_sentence(
        self, store: Store, monkeypatch: pytest.MonkeyPatch, backend: str, package: str
    ) -> None:
        monkeypatch.setitem(sys.modules, package, None)
        with pytest.raises(PcvrError, match=f"backend '{backend}' needs a package .*: pip install {package}"):
            run_study(plan(), store, run=pretended, backend=backend)

    def test_an_interruption_keeps_what_is_done(self, store: Store) -> None:
        def breaks(cell: Experiment) -> dict[str, Any]:
            if cell.seed == 2:
                raise KeyboardInterrupt
            return pretended(cell)

        with pytest.raises(KeyboardInterrupt):
            run_study(plan(), store, run=breaks)
        assert len(store.records()) == 2


@pytest.mark.slow
def test_a_tiny_real_run_from_end_to_end(store: Store, tiny_folder: Path) -> None:
    from pcvr.experiments.study.reproduce import reproduce

    cell = Experiment("tiny", "pcvr", model=str(tiny_folder), samples=8, tests=4, max_steps=2, batch_size=4, rate=0.5)
    summary = run_study(plan_of([cell]), store, threads=1)
    assert summary.made == [cell.key], summary.failed
    (record,) = store.records()
    assert record["setup"]["threads"] == 1 and record["wall"] > record["seconds"] > 0
    assert set(record["intervals"]) == {"cider", "bleu4"} and set(record["outcomes"]) >= {"aimed", "hit", "right"}
    row = store.read().iloc[0]
    assert row["bleu4_low"] - 0.01 <= row["clean_bleu4"] <= row["bleu4_high"] + 0.01
    found = reproduce(store, cell.key)
    assert found.good and not any(found.other_samples.values()) and not found.other_setup and not found.notes
