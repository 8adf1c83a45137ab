"""A study that is killed twenty times at random moments, each time in a process of its own: run by test_runner.

    python -m tests.kill_study FOLDER

The processes are forked from one that has imported everything, so that they start at once. A line is written in three
parts with pauses, so that many kills tear one. What a process holds to be written it says in a second file; that is
compared with the store.
"""

from __future__ import annotations

import os
import random
import signal
import sys
import time
from pathlib import Path

from pcvr.experiments import Experiment
from pcvr.experiments.study.journal import Appender
from pcvr.experiments.study.plan import Plan
from pcvr.experiments.study.runner import Progress, run_study
from pcvr.experiments.study.store import Store
from tests.studies import plan, pretended

KILLS = 20
_write = Appender._write


def in_parts(self: Appender, data: bytes) -> None:
    """Write as the store does, but slowly."""
    third = len(data) // 3
    for part in (data[:third], data[third : 2 * third]):
        self._stream.write(part)
        time.sleep(0.004)
    _write(self, data[2 * third :])


def run(cell: Experiment) -> dict[str, object]:
    time.sleep(0.002)
    return pretended(cell)


def child(whole: Plan, folder: Path) -> None:
    log = os.open(folder / "said", os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def told(progress: Progress) -> None:
        os.write(log, f"{progress.cell.key}\n".encode())

    Appender._write = in_parts  # type: ignore[method-assign]
    run_study(whole, Store(folder / "store"), run=run, told=told)


def cells(seeds: int) -> Plan:
    return plan("none PCVR other", seeds=seeds, attacks="badnets sig")


def main(folder: Path) -> None:
    seeds = 20
    whole = cells(seeds)
    (folder / "warm").mkdir()
    child(plan(seeds=1), folder / "warm")  # everything is imported now
    began = time.monotonic()
    child(plan(seeds=4), folder / "warm")
    span = time.monotonic() - began  # of a dozen cells, on this machine as busy as it is
    moments = random.Random(time.time_ns())
    torn = kills = 0
    while kills < KILLS:
        began = os.fork()
        if began == 0:
            child(whole, folder)
            os._exit(0)
        time.sleep(moments.uniform(0.0, span))
        os.kill(began, signal.SIGKILL)
        _, status = os.waitpid(began, 0)
        kills += os.WIFSIGNALED(status)
        file = folder / "store" / "records.jsonl"
        if file.exists():
            torn += not file.read_bytes().endswith(b"\n") and file.stat().st_size > 0
        said = (folder / "said").read_text().split() if (folder / "said").exists() else []
        keys = [record["key"] for record in Store(folder / "store").records()]
        assert len(keys) == len(set(keys)), "a run is there twice"
        assert set(said) <= set(keys), "a finished run was lost"
        if len(keys) == len(whole.cells):  # a moment of a busy machine is long: there is more to do
            seeds += 20
            whole = cells(seeds)
    there = len(Store(folder / "store").records())
    Appender._write = _write  # type: ignore[method-assign]
    summary = run_study(whole, Store(folder / "store"), run=pretended)
    records = Store(folder / "store").records()
    assert {record["key"] for record in records} == set(whole.cells) and len(records) == len(whole.cells)
    assert summary.there >= there and not summary.failed
    for record in records:
        expected = pretended(whole.cells[record["key"]])
        assert {name: record[name] for name in expected} == expected
    print(f"{kills} kills, {torn} torn lines, {there} of {len(whole.cells)} cells before the last call")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
