"""Run the cells of a plan that a store lacks; each result is on the disk before the next one is looked at."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass, field
from typing import Any

from pcvr.errors import PcvrError, reason
from pcvr.experiments.experiment import Experiment
from pcvr.experiments.set_up import cores, processor
from pcvr.experiments.study.plan import Plan
from pcvr.experiments.study.pools import Pool, pool_of
from pcvr.experiments.study.store import Store, Writer
from pcvr.experiments.study.tables import experiment_of
from pcvr.experiments.study.timing import Clock, TimeLeft, in_words
from pcvr.experiments.study.worker import Run, run_cell, work
from pcvr.utils.checks import check_whole

_LOOK = 10.0
_PATIENCE = 300.0
"""Seconds between two looks whether a cluster has workers, and for how long it may have none."""


@dataclass(frozen=True)
class Progress:
    """What is told after each cell.

    Attributes:
        done: cells of the plan that the store has.
        failed: cells that failed in this call.
        total: cells of the plan.
        cell: the one that has just ended.
        found: its Record, or its entry in the side file, with ``error``.
        left: how long the rest takes.
    """

    done: int
    failed: int
    total: int
    cell: Experiment
    found: Mapping[str, Any]
    left: TimeLeft


@dataclass
class Summary:
    """What a call has done.

    Attributes:
        there: cells of the plan that the store had before.
        made: keys of the cells that were made.
        failed: error of each cell that failed, by key.
        mended: what was done about torn lines of the store.
    """

    there: int = 0
    made: list[str] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)
    mended: list[str] = field(default_factory=list)


def run_study(
    plan: Plan,
    store: Store,
    *,
    jobs: int | None = None,
    threads: int | None = None,
    backend: str = "loky",
    address: str | None = None,
    run: Run = run_cell,
    made_by: str = "",
    told: Callable[[Progress], None] | None = None,
) -> Summary:
    """Run what the store lacks of a plan, in the plan's order.

    Only this process writes the store. It may be killed at any moment: the next call goes on with the cells that are
    not in the store. A cell that raises an error goes into the side file, and the others go on; so does one whose
    process is killed twice, the second time alone. The next call tries it again. With one job on this machine the cells
    run in this process, so a cell that kills its process ends the call: give two jobs then.

    Args:
        plan: the cells.
        store: where results lie and go.
        jobs: cells at a time, see `pool_of`.
        threads: of torch in a cell; by default the cores divided by the jobs, on a cluster at an address 1.
        backend: ``"loky"`` (joblib's processes), ``"dask"`` or ``"ray"``.
        address: of a running dask or ray cluster.
        run: runs one cell; processes import it, so it is a function of a module.
        made_by: the command, for the Records.
        told: is called after each cell.

    Raises:
        PcvrError: a number below 1, a cluster that does not answer, or a store that cannot be read or written.
    """
    for name, value in (("jobs", jobs), ("threads", threads)):
        if value is not None:
            check_whole(name, value, 1)
    if threads is None:
        threads = 1 if address else max(1, cores() // (jobs or 1))
    env = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), str(threads))
    with store.writing() as writer:
        lacking = deque(key for key in plan.cells if key not in writer.keys)
        summary = Summary(len(plan.cells) - len(lacking), mended=writer.mended)
        if lacking:
            with pool_of(backend, jobs, address, env) as pool:
                setup = {"made_by": made_by, "jobs": pool.size, "backend": backend}
                clock = _clock(writer, pool.size, threads)
                call = _Call(plan.cells, writer, pool, clock, summary, told, (run, threads, setup))
                call.run(lacking)
    return summary


@dataclass
class _Call:
    """The state of one call of `run_study`."""

    cells: Mapping[str, Experiment]
    writer: Writer
    pool: Pool
    clock: Clock
    summary: Summary
    told: Callable[[Progress], None] | None
    how: tuple[Run, int, Mapping[str, Any]]
    waiting: deque[str] = field(default_factory=deque)
    running: dict[Future[Any], tuple[str, float]] = field(default_factory=dict)

    def run(self, lacking: deque[str]) -> None:
        """Run all, several at a time; then those that were at work when a process was killed, each alone."""
        self.waiting, suspects = lacking, deque[str]()
        while self.waiting or self.running:
            suspects += self._round(self.pool.size)
        self.waiting = suspects
        while self.waiting or self.running:
            for key in self._round(1):
                self._ended(key, self._killed(key))

    def _round(self, most: int) -> list[str]:
        """Start cells while there is room, wait for one, keep what has ended; return those whose process was killed."""
        while self.waiting and len(self.running) < most:
            key = self.waiting.popleft()
            run, threads, setup = self.how
            future = self.pool.submit(work, run, self.cells[key], threads, setup)
            self.running[future] = (key, time.monotonic())
        done = self._wait()
        lost = []
        for future in sorted(done, key=lambda each: self.running[each][1]):
            key, _ = self.running.pop(future)
            problem = future.exception()
            if problem is None:
                self._ended(key, future.result())
            elif isinstance(problem, self.pool.killed):
                lost.append(key)
            else:
                self._ended(key, self._unfinished(key, reason(problem)))
        if lost and self.pool.renew():
            lost += [key for key, _ in self.running.values()]
            self.running.clear()
        return lost

    def _wait(self) -> set[Future[Any]]:
        """Wait until a cell has ended, and return those that have.

        Raises:
            PcvrError: the cluster has lost its workers, and no new ones come.
        """
        empty_since = None
        while True:
            done, _ = wait(self.running, timeout=_LOOK, return_when=FIRST_COMPLETED)
            if done:
                return done
            empty_since = None if self.pool.alive() else empty_since or time.monotonic()
            if empty_since is not None and time.monotonic() - empty_since > _PATIENCE:
                raise PcvrError(
                    f"the cluster has had no worker for {in_words(_PATIENCE)}: start workers and give the same command."
                )

    def _killed(self, key: str) -> dict[str, Any]:
        return self._unfinished(key, "its process was killed twice, the second time alone: it may need more memory")

    def _unfinished(self, key: str, error: str) -> dict[str, Any]:
        setup = dict(self.how[2])
        return {"key": key, "experiment": self.cells[key].to_dict(), "error": error, "traceback": "", "setup": setup}

    def _ended(self, key: str, found: Mapping[str, Any]) -> None:
        """Put a result on the disk, then tell."""
        cell = self.cells[key]
        if "error" in found:
            self.writer.failed(found)
            self.summary.failed[key] = found["error"]
        else:
            self.writer.add(found)
            self.summary.made.append(key)
            self.clock.saw(cell, found["wall"])
        if self.told is not None:
            now = time.monotonic()
            busy = {each: (self.cells[each], now - began) for each, began in self.running.values()}
            left = self.clock.left([self.cells[each] for each in self.waiting], busy)
            done = self.summary.there + len(self.summary.made)
            self.told(Progress(done, len(self.summary.failed), len(self.cells), cell, found, left))


def _clock(writer: Writer, jobs: int, threads: int) -> Clock:
    """A clock that knows the Records made on this kind of machine, with as many jobs and threads."""
    clock = Clock(jobs)
    here = {"jobs": jobs, "threads": threads, "cores": cores(), "machine": processor()}
    for record in writer.records:
        if "wall" in record and here.items() <= record["setup"].items():
            clock.remember([(experiment_of(record), record["wall"])])
    return clock
