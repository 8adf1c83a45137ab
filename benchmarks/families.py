"""Three model families, two tasks: how well each learns, whether BadNets takes, and what PCVR does about it.

    python benchmarks/families.py            # every run (a quarter of an hour), then table, picture and adapters
    python benchmarks/families.py --only-picture

The runs of the first seed are the shipped adapters. Runs are kept in runs/families and read again, so an interrupted
call goes on where it was.
"""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path
from typing import Any

from pcvr.experiments import Experiment, sweep
from pcvr.experiments.results import FOLDER, load, ready, save
from pcvr.models.adapter import ADAPTERS
from pcvr.models.zoo import shipped
from pcvr.plots.results import families
from pcvr.tasks import TASKS
from pcvr.utils.files import write_json
from pcvr.utils.terminal import run_command

RUNS = Path("runs/families")
PICTURE = Path("docs/families.png")
PLANS: dict[str, dict[str, Any]] = {
    "clean": {"rate": 0.0},
    "badnets-none": {},
    "badnets-pcvr": {"defense": "pcvr"},
}
"""What is done with each model and task; the name is also the end of the adapter's."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only-picture", action="store_true", help="draw the shipped table again")
    parser.add_argument("--seeds", type=int, default=1, help="seeds of each run")
    parser.add_argument("--out", type=Path, default=FOLDER / "families.json")
    parser.add_argument("--adapters", type=Path, default=ADAPTERS, help="where the adapters go")
    parser.add_argument("--jobs", type=int, default=1, help="runs at a time; they share the cores")
    arguments = parser.parse_args()
    if not arguments.only_picture:
        ready(arguments.out)
        plan = {
            (model, f"{task}-{name}", seed): Experiment(name, model=model, task=task, seed=seed, **options)
            for model in shipped()
            for task in TASKS
            for name, options in PLANS.items()
            for seed in range(arguments.seeds)
        }
        runs = sweep(list(plan.values()), RUNS, jobs=arguments.jobs, adapters=True)
        for (model, name, seed), experiment, run in zip(plan, plan.values(), runs, strict=True):
            if seed == 0:
                ship(RUNS / experiment.key, arguments.adapters / model / name, run)
        save(arguments.out, "python benchmarks/families.py", runs, jobs=arguments.jobs)
    table = load("families")
    for (model, task, label), cell in table.cells(("model", "task", "label")).items():
        print(
            f"{model:14} {task:8} {label:13} ASR {100 * cell.asr:5.1f} %  right {100 * cell.right:5.1f} %  "
            f"triggered right {100 * cell.triggered_right:5.1f} %  {cell.seconds:5.1f} s  "
            + "  ".join(f"{k} {v:.3f}" for k, v in cell.scores.items())
        )
    PICTURE.parent.mkdir(exist_ok=True)
    families(table).savefig(PICTURE, dpi=160)


def ship(made: Path, target: Path, run: dict[str, object]) -> None:
    """Put an adapter and its record where `pcvr.load(model, adapter=name)` finds them."""
    fresh = target.with_name(f"{target.name}.new")
    shutil.rmtree(fresh, ignore_errors=True)
    shutil.copytree(made, fresh)
    write_json(fresh / "record.json", run)
    shutil.rmtree(target, ignore_errors=True)
    fresh.rename(target)


if __name__ == "__main__":
    run_command(main)
