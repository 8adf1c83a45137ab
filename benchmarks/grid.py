"""The grid of notebook 07: PCVR at 54 settings of four options, and what they are compared with.

    python benchmarks/grid.py --jobs 2                      # every run (about 40 minutes on two cores), then the table
    python benchmarks/grid.py --first 6                     # the first six settings only, nearest to the defaults
    python benchmarks/grid.py --jobs 2 --tasks caption vqa  # questions as well, twice the time
    python benchmarks/grid.py --print                       # the shipped table in words

BadNets at 5 % on tiny-llava, one seed, 400 steps, 2000 training scenes, 256 test scenes. The gate is "two_stage", since
one of the four options says when it scans.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

from pcvr.experiments import Experiment
from pcvr.experiments.benchmark import Runs, make_table, table_parser
from pcvr.experiments.grid import frontier, knobs_of, lay_out, name_of, read_grid, references, run_point
from pcvr.experiments.results import Table
from pcvr.tasks import TASKS
from pcvr.utils.terminal import run_command

BASE = Experiment("PCVR", defense="pcvr", options={"gate": "two_stage"}, tests=256, watch=50)


def plan(tasks: Sequence[str], first: int | None = None, max_steps: int = BASE.max_steps) -> list[Experiment]:
    """Return all experiments: for each task the references, then the settings, those nearest to the defaults first.

    Args:
        tasks: names of tasks.
        first: number of settings of each task; None for all.
        max_steps: optimiser steps.
    """
    found: list[Experiment] = []
    for task in tasks:
        base = replace(BASE, task=task, max_steps=max_steps)
        found += [*references(base), *lay_out(base, knobs_of(base.defense))[:first]]
    return found


def slim(runs: Runs) -> list[dict[str, Any]]:
    """Return the runs without what the table says once for all of them."""
    said = ("versions", "date", "attack")
    return [{**run, "record": {k: v for k, v in run["record"].items() if k not in said}} for run in runs]


def lines(table: Table) -> Iterator[str]:
    """Yield a line for each setting and case."""
    grid = read_grid(table)
    for case in grid.cases:
        mine = grid.of(case)
        best = frontier([p.asr for p in mine.points], [p.utility for p in mine.points])
        yield f"{case} (* no other setting beats it)"
        for k, point in enumerate((*mine.points, *mine.references)):
            said = ", ".join(f"{name_of(knob)} {value:g}" for knob, value in point.setting) or point.label
            mark = "*" if k in best else " "
            yield (
                f" {mark} {said:78} ASR {100 * point.asr:5.1f} %  {point.utility_label} {point.utility:5.1f}  "
                f"triggered {point.triggered_utility:5.1f}  {point.seconds:5.1f} s"
            )


def main() -> None:
    parser = table_parser("grid", __doc__)
    parser.add_argument("--tasks", nargs="+", default=["caption"], choices=sorted(TASKS), help="names of tasks")
    parser.add_argument("--first", type=int, default=None, help="number of settings of each task; default: all")
    parser.add_argument("--max-steps", "--steps", type=int, default=BASE.max_steps, help="optimiser steps of a run")
    given = parser.parse_args()
    table = make_table(given, plan(given.tasks, given.first, given.max_steps), run=run_point, finish=slim)
    print("\n".join(lines(table)))


if __name__ == "__main__":
    run_command(main)
