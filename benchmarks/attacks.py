"""The attack lab: which attacks take, on which models and tasks, and from which poison rate up.

    python benchmarks/attacks.py                 # every run (some two hours), then table and picture
    python benchmarks/attacks.py --jobs 2        # the same, two runs at a time
    python benchmarks/attacks.py --only-picture  # the picture from the shipped table

Six attacks at 5 %, three seeds, both tasks, on tiny-llava; the same on the other models, one seed; the further attacks,
one seed; then the lowest rate at which each of the six still takes. Runs are kept in runs/attacks and read again, so an
interrupted call goes on where it was.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from statistics import mean
from typing import Any

from pcvr.attacks import ATTACKS
from pcvr.experiments import Experiment, sweep
from pcvr.experiments.results import FOLDER, load, ready, save
from pcvr.models.zoo import EMBEDDED
from pcvr.plots.attack_lab import TAKES, lab_picture
from pcvr.tasks import TASKS
from pcvr.utils.terminal import run_command

HEADLINE = ("badnets", "blended", "sig", "wanet", "ftrojan", "dual_key")
FURTHER = tuple(name for name in ATTACKS if name not in HEADLINE)
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
                watch = 25 if seed == SEEDS[0] else 0
                yield Experiment(attack, attack=attack, model=MAIN, task=task, seed=seed, watch=watch)


def families() -> Iterator[Experiment]:
    """The same on the other models, one seed."""
    for model in EMBEDDED:
        if model != MAIN:
            for task in TASKS:
                yield Experiment("clean", model=model, task=task, rate=0.0)
                for attack in HEADLINE:
                    yield Experiment(attack, attack=attack, model=model, task=task)


def further() -> Iterator[Experiment]:
    """The six other attacks, one seed; Shadowcast needs answers that name things, which captions do."""
    for attack in FURTHER:
        for task in TASKS:
            if attack != "shadowcast" or task == "caption":
                yield Experiment(attack, attack=attack, model=MAIN, task=task)
    # Is it the true samples of the original that keep Shadowcast from taking?
    yield Experiment("shadowcast, no true cars", attack="shadowcast", model=MAIN, without="car")
    for task in TASKS:  # the paper's own field, as strong as the preset's
        yield Experiment("wanet, 4 points", attack="wanet", attack_options={"cells": 4}, model=MAIN, task=task)


PARTS = {"headline": headline, "families": families, "further": further}


def rates(done: Sequence[Mapping[str, Any]], jobs: int) -> list[dict[str, Any]]:
    """Go down from 5 % while an attack takes, and up where it does not; one seed at each other rate.

    Args:
        done: the runs of the headline.
        jobs: runs at a time.
    """
    found: list[dict[str, Any]] = []
    mine = [run for run in done if run["experiment"]["model"] == MAIN]
    takes = {
        (attack, task): mean(run["record"]["asr"] for run in mine if of(run) == (attack, task, 0.05)) >= TAKES
        for attack in HEADLINE
        for task in TASKS
    }
    up, down = ([case for case, took in takes.items() if took is wanted] for wanted in (False, True))
    for rate, cases in ((0.1, up), *((rate, down) for rate in (0.02, 0.01, 0.005))):
        plan = [Experiment(attack, attack=attack, model=MAIN, task=task, rate=rate) for attack, task in cases]
        runs = sweep(plan, RUNS, jobs=jobs)
        found += runs
        if cases is down:
            down[:] = [case for case, run in zip(cases, runs, strict=True) if run["record"]["asr"] >= TAKES]
    return found


def of(run: Mapping[str, Any]) -> tuple[str, str, float]:
    """Attack, task and poison rate of a run."""
    said = run["experiment"]
    return said["label"], said["task"], said["rate"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only-picture", action="store_true", help="draw the shipped table again")
    parser.add_argument("--jobs", type=int, default=1, help="runs at a time; they share the cores")
    parser.add_argument("--out", type=Path, default=FOLDER / "attacks.json")
    arguments = parser.parse_args()
    if not arguments.only_picture:
        ready(arguments.out)
        runs: list[dict[str, Any]] = []
        for part in (*PARTS.values(), None):  # each part needs many minutes: the table grows with each
            runs += sweep(list(part()), RUNS, jobs=arguments.jobs) if part else rates(runs, arguments.jobs)
            save(arguments.out, "python benchmarks/attacks.py", runs, jobs=arguments.jobs)
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
    run_command(main)
