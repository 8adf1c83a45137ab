"""Three model families, two tasks: how well each learns, whether BadNets succeeds, what PCVR does about it and costs.

    python benchmarks/families.py --jobs 2           # every run (an hour), then adapters and table
    python benchmarks/families.py --only tiny-blip2  # this model again, or a new one; the others stay
    python benchmarks/families.py --missing          # what the table lacks
    python benchmarks/families.py --print            # the shipped table

PCVR as it is by default, on poisoned and on clean data. Runs of the first seed are the shipped adapters (`SHIPPED`).
`python tools/readme.py` writes the table and the picture of the docs.
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
    "clean-pcvr": {"rate": 0.0, "defense": "pcvr"},
    "badnets-none": {},
    "badnets-pcvr": {"defense": "pcvr"},
}
"""The trainings of each model and task; the adapter's name ends in the name."""
SHIPPED = ("clean", "badnets-none", "badnets-pcvr")
"""The trainings whose adapters come with the package."""
SEEDS = 3


def plan(seeds: int = SEEDS) -> list[Experiment]:
    """Return all experiments, model by model."""
    return [
        Experiment(name, model=model, task=task, seed=seed, **options)
        for model in shipped()
        for task in TASKS
        for name, options in PLANS.items()
        for seed in range(seeds)
    ]


def ship(runs: Runs, made: Path, target: Path) -> None:
    """Move each adapter of the first seed, with its record, to where `pcvr.load(model, adapter=name)` finds it."""
    for run in runs:
        said, adapter = run["experiment"], made / run["key"]
        if adapter.is_dir() and said["seed"] == 0 and said["label"] in SHIPPED:
            place = target / said["model"] / f"{said['task']}-{said['label']}"
            fresh = place.with_name(f"{place.name}.new")
            shutil.rmtree(fresh, ignore_errors=True)
            shutil.copytree(adapter, fresh)
            write_json(fresh / "record.json", run)
            shutil.rmtree(place, ignore_errors=True)
            fresh.rename(place)
        shutil.rmtree(adapter, ignore_errors=True)


def main() -> None:
    parser = table_parser("families", __doc__)
    parser.add_argument("--seeds", type=int, default=SEEDS, help="seeds of each run")
    parser.add_argument("--adapters", type=Path, default=ADAPTERS, help="where the adapters go")
    given = parser.parse_args()
    table = make_table(given, plan(given.seeds), by="model", adapters=True)
    ship(table.runs, given.runs, given.adapters)
    print("\n".join(cell_lines(table, ("model", "task", "label"))))


if __name__ == "__main__":
    run_command(main)
