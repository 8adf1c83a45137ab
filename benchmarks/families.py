"""Three model families, two tasks: how well each learns, whether BadNets succeeds, and what PCVR does about it.

    python benchmarks/families.py                    # every run (a quarter of an hour), then adapters and table
    python benchmarks/families.py --only tiny-blip2  # this model again, or a new one; the others stay
    python benchmarks/families.py --print            # the shipped table

PCVR has the gate "two_stage". The runs of the first seed are the shipped adapters. `python tools/readme.py` writes the
README's table and picture.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from pcvr.experiments import Experiment
from pcvr.experiments.benchmark import Runs, cell_lines, make_table, table_parser
from pcvr.models.adapter import ADAPTERS
from pcvr.models.zoo import shipped
from pcvr.tasks import TASKS
from pcvr.utils.files import write_json
from pcvr.utils.terminal import run_command

PLANS: dict[str, dict[str, Any]] = {
    "clean": {"rate": 0.0},
    "badnets-none": {},
    "badnets-pcvr": {"defense": "pcvr", "options": {"gate": "two_stage"}},
}
"""The trainings of each model and task; the adapter's name ends in the name."""


def plan(seeds: int = 1) -> list[Experiment]:
    """Return all experiments, model by model."""
    return [
        Experiment(name, model=model, task=task, seed=seed, **options)
        for model in shipped()
        for task in TASKS
        for name, options in PLANS.items()
        for seed in range(seeds)
    ]


def ship(runs: Runs, made: Path, target: Path) -> Runs:
    """Copy each adapter of the first seed, with its record, to where `pcvr.load(model, adapter=name)` finds it."""
    for run in runs:
        said = run["experiment"]
        if said["seed"] == 0:
            place = target / said["model"] / f"{said['task']}-{said['label']}"
            fresh = place.with_name(f"{place.name}.new")
            shutil.rmtree(fresh, ignore_errors=True)
            shutil.copytree(made / run["key"], fresh)
            write_json(fresh / "record.json", run)
            shutil.rmtree(place, ignore_errors=True)
            fresh.rename(place)
    return runs


def main() -> None:
    parser = table_parser("families", __doc__)
    parser.add_argument("--seeds", type=int, default=1, help="seeds of each run")
    parser.add_argument("--adapters", type=Path, default=ADAPTERS, help="where the adapters go")
    given = parser.parse_args()

    def finish(runs: Runs) -> Runs:
        return ship(runs, given.runs, given.adapters)

    table = make_table(given, plan(given.seeds), by="model", finish=finish, adapters=True)
    print("\n".join(cell_lines(table, ("model", "task", "label"))))


if __name__ == "__main__":
    run_command(main)
