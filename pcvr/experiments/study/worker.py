"""One cell of a study in the process that runs it: torch's threads, the set-up, and an error that is a result too."""

from __future__ import annotations

import json
import os
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pcvr.errors import reason
from pcvr.experiments.experiment import Experiment
from pcvr.experiments.run import run_experiment
from pcvr.experiments.set_up import setup_now

Run = Callable[[Experiment], Mapping[str, Any]]
"""Runs one experiment and returns what `pcvr.experiments.run_experiment` returns."""

_THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


def run_cell(cell: Experiment, starts: Path | None = None) -> dict[str, Any]:
    """Run an experiment for a store: with bootstrap intervals of the scores of captions; `starts` is a folder."""
    import torch

    torch.set_num_threads(int(os.environ[_THREADS[0]]))  # as `work` says; torch may be loaded only now
    return run_experiment(cell, intervals=True, starts=starts)


def work(run: Run, cell: Experiment, threads: int, setup: Mapping[str, Any]) -> dict[str, Any]:
    """Run a cell, in whatever process this is.

    Args:
        run: see `Run`; it comes as a reference to a function, so the process imports it.
        cell: what to run.
        threads: of torch.
        setup: what is the same for all cells of the call: ``made_by``, ``jobs``, ``backend``.

    Returns:
        A Record of the store, or, if `run` raised an error, an entry of its side file, with ``error``.
    """
    began = time.perf_counter()
    with held_threads(threads):
        try:
            found = json.loads(json.dumps(run(cell)))
            if found["key"] != cell.key:
                raise ValueError(f"the run returned the key {found['key']}, the cell has {cell.key}")
        except Exception as problem:
            found = {"key": cell.key, "experiment": json.loads(json.dumps(cell.to_dict(), default=str))}
            found |= {"error": reason(problem), "traceback": traceback.format_exc()}
        return found | {"wall": round(time.perf_counter() - began, 3), "setup": {**setup, **setup_now(threads)}}


@contextmanager
def held_threads(threads: int) -> Iterator[None]:
    """Let torch use so many threads inside the block, also if it is imported there."""
    before = {name: os.environ.get(name) for name in _THREADS}
    os.environ.update(dict.fromkeys(_THREADS, str(threads)))
    torch = sys.modules.get("torch")
    had = torch.get_num_threads() if torch else 0
    if torch:
        torch.set_num_threads(threads)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
        if torch:
            torch.set_num_threads(had)
