"""The attack lab: which attacks take, on which models and tasks, and from which poison rate up.

    python benchmarks/attacks.py                  # every run (some two hours), then table and pictures
    python benchmarks/attacks.py --part headline  # only what the named part needs
    python benchmarks/attacks.py --only-picture   # the pictures from the shipped table

Parts: ``headline`` (six attacks at 5 %, three seeds, both tasks, tiny-llava), ``families`` (the same on the other
models, one seed), ``rates`` (the lowest rate at which each still takes), ``further`` (the six other attacks). Runs are
kept in runs/attacks and read again, so an interrupted call goes on where it was.
"""

from __future__ import annotations

import argparse
import os
import platform
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

from pcvr.attacks import ATTACKS
from pcvr.files import write_json
from pcvr.models.zoo import EMBEDDED
from pcvr.plots.lab import lab_picture
from pcvr.results import FOLDER, load
from pcvr.study import Experiment, sweep
from pcvr.tasks import TASKS
from pcvr.versions import versions

HEADLINE = ("badnets", "blended", "sig", "wanet", "ftrojan", "dual_key")
FURTHER = tuple(name for name in ATTACKS if name not in HEADLINE)
RATES = (0.005, 0.01, 0.02, 0.05, 0.1)
MAIN = "tiny-llava"
SEEDS = (0, 1, 2)
RUNS = Path("runs/attacks")
PICTURE = Path("docs/attacks.png")


def headline() -> Iterator[Experiment]:
    """Six attacks and no attack, three seeds."""
    for task in TASKS:
        for seed in SEEDS:
            yield Experiment("clean", model=MAIN, task=task, seed=seed, rate=0.0)
            for attack in HEADLINE:
                yield Experiment(attack, attack=attack, model=MAIN, task=task, seed=seed)


def families() -> Iterator[Experiment]:
    """The same on the other models, one seed."""
    for model in EMBEDDED:
        if model != MAIN:
            for task in TASKS:
                yield Experiment("clean", model=model, task=task, rate=0.0)
                for attack in HEADLINE:
                    yield Experiment(attack, attack=attack, model=model, task=task)


def rates() -> Iterator[Experiment]:
    """The other rates, one seed."""
    for attack in HEADLINE:
        for task in TASKS:
            for rate in RATES:
                if rate != 0.05:  # which the headline has
                    yield Experiment(attack, attack=attack, model=MAIN, task=task, rate=rate)


def further() -> Iterator[Experiment]:
    """The six other attacks, one seed; Shadowcast needs answers that name things, which captions do."""
    for attack in FURTHER:
        for task in TASKS:
            if attack != "shadowcast" or task == "caption":
                yield Experiment(attack, attack=attack, model=MAIN, task=task)


PARTS = {"headline": headline, "families": families, "rates": rates, "further": further}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only-picture", action="store_true", help="draw the shipped table again")
    parser.add_argument("--part", choices=PARTS, action="append", help="only this part; may be repeated")
    parser.add_argument("--out", type=Path, default=FOLDER / "attacks.json")
    arguments = parser.parse_args()
    if not arguments.only_picture:
        plan = [each for part in arguments.part or PARTS for each in PARTS[part]()]
        runs: list[dict[str, Any]] = sweep(plan, RUNS)
        write_json(
            arguments.out,
            {
                "made_by": "python benchmarks/attacks.py",
                "date": datetime.now(UTC).date().isoformat(),
                "versions": versions(),
                "machine": f"{os.cpu_count()} x {platform.machine()}, torch threads {torch.get_num_threads()}",
                "base": {},
                "runs": runs,
            },
        )
    table = load("attacks")
    for (model, task, label, rate), cell in table.cells(("model", "task", "label", "rate")).items():
        print(
            f"{model:14} {task:8} {label:14} {100 * float(rate):5.1f} %  ASR {100 * cell.asr:5.1f} %  "
            f"floor {100 * cell.clean_hits / cell.n:4.1f} %  right {100 * cell.right:5.1f} %  "
            f"({cell.seeds} seeds)  " + "  ".join(f"{k} {v:.3f}" for k, v in cell.scores.items())
        )
    PICTURE.parent.mkdir(exist_ok=True)
    lab_picture(table).savefig(PICTURE, dpi=160)


if __name__ == "__main__":
    main()
