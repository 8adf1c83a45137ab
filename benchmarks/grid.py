"""The grid behind notebook 07: PCVR at 54 settings of four options, and what they are held against.

    python benchmarks/grid.py --jobs 2                      # every run (some 40 minutes on two cores), then the table
    python benchmarks/grid.py --first 6                     # the first six settings only, nearest to the defaults
    python benchmarks/grid.py --jobs 2 --tasks caption vqa  # questions as well, twice the time
    python benchmarks/grid.py --only-print                  # the shipped table in words

BadNets at 5 % on tiny-llava, one seed, 400 steps, 2000 training scenes, 256 test scenes. Runs are kept in runs/grid and
read again, so an interrupted call goes on where it was.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from pcvr.experiments import Experiment
from pcvr.experiments.grid import frontier, knobs_of, lay_out, name_of, read_grid, references, run_grid
from pcvr.experiments.results import FOLDER, load, ready, save
from pcvr.tasks import TASKS
from pcvr.utils.terminal import run_command

BASE = Experiment("PCVR", defense="pcvr", tests=256, watch=50)
RUNS = Path("runs/grid")


def plan(tasks: Sequence[str], first: int | None = None, steps: int = BASE.steps) -> list[Experiment]:
    """What is run: for each task the references, then the settings, those nearest to the defaults first.

    Args:
        tasks: names of tasks.
        first: how many settings of each task; None for all.
        steps: optimiser steps.
    """
    found: list[Experiment] = []
    for task in tasks:
        base = replace(BASE, task=task, steps=steps)
        found += [*references(base), *lay_out(base, knobs_of(base.defense))[:first]]
    return found


def slim(run: Mapping[str, Any]) -> dict[str, Any]:
    """A run without what the table says once for all of them."""
    record = {k: v for k, v in run["record"].items() if k not in ("versions", "date", "attack")}
    return {**run, "record": record}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, default=1, help="runs at a time; they share the cores")
    parser.add_argument("--tasks", nargs="+", default=["caption"], choices=sorted(TASKS), help="what is asked")
    parser.add_argument("--first", type=int, default=None, help="only so many settings of each task")
    parser.add_argument("--steps", type=int, default=BASE.steps, help="optimiser steps of a run")
    parser.add_argument("--runs", type=Path, default=RUNS, help="where single runs are kept")
    parser.add_argument("--out", type=Path, default=FOLDER / "grid.json")
    parser.add_argument("--only-print", action="store_true", help="print the shipped table again")
    arguments = parser.parse_args()
    if not arguments.only_print:
        ready(arguments.out)
        wanted = plan(arguments.tasks, arguments.first, arguments.steps)
        runs = run_grid(wanted, arguments.runs, jobs=arguments.jobs)
        first = f" --first {arguments.first}" if arguments.first is not None else ""
        tasks = f" --tasks {' '.join(arguments.tasks)}" if arguments.tasks != ["caption"] else ""
        made_by = f"python benchmarks/grid.py{tasks}{first}"
        save(arguments.out, made_by, [slim(run) for run in runs], jobs=arguments.jobs)
        if arguments.out.resolve() != (FOLDER / "grid.json").resolve():
            return  # a trial: what is printed below is the shipped table
    grid = read_grid(load("grid"))
    for case in grid.cases:
        mine = grid.of(case)
        best = frontier([p.asr for p in mine.points], [p.utility for p in mine.points])
        print(f"{case} (* no other setting beats it)")
        for k, point in enumerate((*mine.points, *mine.references)):
            said = ", ".join(f"{name_of(knob)} {value:g}" for knob, value in point.setting) or point.label
            mark = "*" if k in best else " "
            print(
                f" {mark} {said:78} ASR {100 * point.asr:5.1f} %  {point.utility_label} {point.utility:5.1f}  "
                f"triggered {point.triggered_utility:5.1f}  {point.seconds:5.1f} s"
            )


if __name__ == "__main__":
    run_command(main)
