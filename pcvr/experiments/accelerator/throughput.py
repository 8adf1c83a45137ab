"""How many runs of a study a machine makes in an hour, one and several at a time.

A run has a part that grows with its steps and one that does not: opening, drawing, encoding, and answering the test
images. Trainings of two lengths tell them apart, so that short ones say how long a full one takes.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import torch

from pcvr.errors import PcvrError, shown
from pcvr.experiments.accelerator.device import name_of
from pcvr.experiments.experiment import Experiment
from pcvr.experiments.run import run_experiment
from pcvr.experiments.study.pools import Pool, pool_of

FULL_STEPS = 400
"""Steps of a run of the shipped tables."""
FORMULA = (
    "seconds of a run = long + (400 - long steps) x (long - short) / (long steps - short steps); "
    "runs an hour = 3600 x runs at a time / seconds of a run"
)


def runs_an_hour(lengths: Sequence[int], seconds: Sequence[float], jobs: int) -> tuple[float, float]:
    """Return the seconds of a run of `FULL_STEPS` steps and the runs an hour, by `FORMULA`.

    Args:
        lengths: steps of a short and of a long training.
        seconds: wall time of `jobs` such runs at the same time.
        jobs: runs at a time.
    """
    a_step = max(0.0, seconds[1] - seconds[0]) / (lengths[1] - lengths[0])
    run = seconds[1] + (FULL_STEPS - lengths[1]) * a_step
    return run, 3600 * jobs / run


def check_lengths(lengths: Sequence[int]) -> None:
    """Raise unless `lengths` are two numbers of steps, the shorter first.

    Raises:
        PcvrError: they are something else.
    """
    if len(lengths) != 2 or not 0 < lengths[0] < lengths[1]:
        raise PcvrError(f"lengths is {shown(lengths)}: give two numbers of steps, the shorter first, such as (40, 80).")


def measure_throughput(
    plan: Sequence[Experiment], lengths: Sequence[int], jobs: Sequence[int], device: torch.device
) -> Iterator[dict[str, Any]]:
    """Time identical runs of each experiment, some at a time.

    Args:
        plan: the experiments; their `max_steps` are replaced.
        lengths: steps of the short and the long training. Both should be past the first 512 samples, in which PCVR's
            steps are dearer.
        jobs: numbers of runs at a time; each run has a process and its part of the cores.
        device: where runs train: what `pcvr.load` takes by itself.

    Yields:
        Plain values: ``row`` (its name), ``device``, ``config`` of the experiment, ``jobs``, ``lengths``, ``seconds``
        of each length, ``run_seconds`` and ``runs_an_hour`` (see `runs_an_hour`), and ``formula``.

    Raises:
        PcvrError: `lengths` are not two.
    """
    check_lengths(lengths)
    cores = os.cpu_count() or 1
    for count in jobs:
        with pool_of("loky", count, env={"OMP_NUM_THREADS": str(max(1, cores // count))}) as pool:
            _together(pool, replace(plan[0], max_steps=2), count)  # imports, kernels, files
            for experiment in plan:
                seconds = [_together(pool, replace(experiment, max_steps=steps), count) for steps in lengths]
                run, rate = runs_an_hour(lengths, seconds, count)
                yield {
                    "row": f"study: {experiment.label}, {count} at a time",
                    "device": name_of(device),
                    "config": experiment.to_dict(),
                    "jobs": count,
                    "lengths": list(lengths),
                    "seconds": [round(each, 2) for each in seconds],
                    "run_seconds": round(run, 2),
                    "runs_an_hour": round(rate, 1),
                    "formula": FORMULA,
                }


def _together(pool: Pool, experiment: Experiment, count: int) -> float:
    """Return the wall time of `count` identical runs at the same time, in seconds."""
    began = time.perf_counter()
    for future in [pool.submit(run_experiment, experiment) for _ in range(count)]:
        future.result()
    return time.perf_counter() - began


def throughput_lines(rows: Sequence[dict[str, Any]]) -> list[str]:
    """Return a line for the terminal for each experiment and number of runs at a time, and the formula."""
    lines = [
        f"{row['row']:36} {row['runs_an_hour']:8.1f} runs an hour  {row['run_seconds']:7.1f} s a run  "
        f"({' and '.join(f'{s} s with {n} steps' for n, s in zip(row['lengths'], row['seconds'], strict=True))})"
        for row in rows
    ]
    return [*lines, f"  {rows[0]['formula']}"] if rows else lines
