"""The defence lab: PCVR with one default against six attacks on two tasks, beside its literal form and its rivals.

    python benchmarks/defenses.py                 # every run (some two hours), then table and picture
    python benchmarks/defenses.py --jobs 2        # the same, two runs at a time
    python benchmarks/defenses.py --parts pcvr --seeds 2
    python benchmarks/defenses.py --only-picture  # the picture from the shipped table

PCVR at 5 % poison and on clean data, three seeds; its paper-literal form, one seed; the rivals on BadNets and SIG, one
seed, those that need trusted samples with 200 of them. The undefended runs they are held against are those of
benchmarks/attacks.py. Runs are kept in runs/defenses and read again, so an interrupted call goes on where it was.
"""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pcvr.defenses import DEFENSES
from pcvr.experiments import Experiment, sweep
from pcvr.experiments.results import FOLDER, load, ready, save
from pcvr.plots.defenses import defense_picture
from pcvr.tasks import TASKS
from pcvr.utils.terminal import run_command

HEADLINE = ("badnets", "blended", "sig", "wanet", "ftrojan", "dual_key")
CHOSEN_ON = ("badnets", "sig")
SEEDS = 3
TRUSTED = 200
RUNS = Path("runs/defenses")
PICTURE = Path("docs/defenses.png")


def pcvr(seeds: int) -> Iterator[Experiment]:
    """The default against everything, and on data without any poison."""
    for seed in range(seeds):
        for task in TASKS:
            yield Experiment("pcvr", "pcvr", task=task, seed=seed, rate=0.0)
            for attack in HEADLINE:
                yield Experiment("pcvr", "pcvr", attack=attack, task=task, seed=seed)


def literal(seeds: int = 1) -> Iterator[Experiment]:
    """What the paper states and no more."""
    for task in TASKS:
        yield Experiment("pcvr_paper", "pcvr_paper", task=task, rate=0.0)
        for attack in HEADLINE:
            yield Experiment("pcvr_paper", "pcvr_paper", attack=attack, task=task)


def rivals(seeds: int = 1) -> Iterator[Experiment]:
    """Everything else that has a name."""
    for name, kind in DEFENSES.items():
        if name in ("none", "pcvr", "pcvr_paper"):
            continue
        trusted: dict[str, Any] = {"clean": TRUSTED} if kind.needs_clean else {}
        for task in TASKS:
            for attack in CHOSEN_ON:
                yield Experiment(name, name, attack=attack, task=task, **trusted)
    for task in TASKS:
        for attack in CHOSEN_ON:
            yield Experiment("augment, both", "augment", {"views": "both"}, attack=attack, task=task)


PARTS = {"pcvr": pcvr, "rivals": rivals, "literal": literal}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only-picture", action="store_true", help="draw the shipped table again")
    parser.add_argument("--jobs", type=int, default=1, help="runs at a time; they share the cores")
    parser.add_argument("--out", type=Path, default=FOLDER / "defenses.json")
    parser.add_argument("--seeds", type=int, default=SEEDS, help="seeds of PCVR; everything else has one")
    parser.add_argument("--parts", default=",".join(PARTS), help="which parts, with commas")
    arguments = parser.parse_args()
    if not arguments.only_picture:
        ready(arguments.out)
        runs: list[dict[str, Any]] = []
        for part in arguments.parts.split(","):  # each part needs many minutes: the table grows with each
            runs += sweep(list(PARTS[part](arguments.seeds)), RUNS, jobs=arguments.jobs)
            save(arguments.out, shlex.join(["python", *sys.argv]), runs, jobs=arguments.jobs)
    table = load("defenses")
    for (task, label, attack, rate), cell in table.cells(("task", "label", "attack", "rate")).items():
        print(
            f"{task:8} {label:14} {attack:9} {100 * float(rate):3.0f} %  ASR {100 * cell.asr:5.1f} % "
            f"({cell.hits} of {cell.n})  right {100 * cell.right:5.1f} %  triggered right "
            f"{100 * cell.triggered_right:5.1f} %  {cell.seconds:5.0f} s  ({cell.seeds} seeds)"
        )
    PICTURE.parent.mkdir(exist_ok=True)
    defense_picture(table, load("attacks")).savefig(PICTURE, dpi=160)


if __name__ == "__main__":
    run_command(main)
