"""Six attacks side by side: how the target's probability, entropy and divergence are spread, without and with PCVR.

    python benchmarks/distributions.py           # every run (24 trainings of about a minute), then the table
    python benchmarks/distributions.py --jobs 2  # the same, two runs at a time

For each attack, task and defence one training of tiny-llava, one seed; of 256 test pictures, clean and triggered, the
table keeps histograms (`pcvr.experiments.histograms`).
Runs are kept in runs/distributions and read again, so an interrupted call
goes on where it was.
"""

from __future__ import annotations

import argparse
from functools import partial
from pathlib import Path

import numpy as np

from pcvr.experiments import Experiment, run_experiment, sweep
from pcvr.experiments.histograms import EDGES, distributions
from pcvr.experiments.results import FOLDER, load, ready, save
from pcvr.utils.terminal import run_command

ATTACKS = ("badnets", "blended", "sig", "wanet", "ftrojan", "dual_key")
TASKS = ("caption", "vqa")
DEFENSES = {"undefended": "none", "defended": "pcvr"}
TESTS = 256
RUNS = Path("runs/distributions")


def experiments() -> list[Experiment]:
    """Task by task and attack by attack, so that an interrupted table has whole rows."""
    return [
        Experiment(label, defense, attack=attack, task=task, tests=TESTS)
        for task in TASKS
        for attack in ATTACKS
        for label, defense in DEFENSES.items()
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, default=1, help="runs at a time; they share the cores")
    parser.add_argument("--out", type=Path, default=FOLDER / "distributions.json")
    arguments = parser.parse_args()
    ready(arguments.out)
    runs = sweep(experiments(), RUNS, jobs=arguments.jobs, run=partial(run_experiment, extra=distributions))
    save(arguments.out, "python benchmarks/distributions.py", runs, jobs=arguments.jobs)
    for run in load("distributions").runs if arguments.out == FOLDER / "distributions.json" else runs:
        said, middles = run["experiment"], []
        for figure, edges in EDGES.items():
            for shown, found in run["distributions"].items():
                at = int(np.searchsorted(np.cumsum(found[figure]), sum(found[figure]) / 2))
                middles.append(f"{figure} {shown} {edges[at]:.2f} to {edges[at + 1]:.2f}")
        asr = f"ASR {100 * run['record']['asr']:5.1f} %"
        print(f"{said['task']:8}{said['attack']:10}{said['label']:12}{asr}  medians: {', '.join(middles)}")


if __name__ == "__main__":
    run_command(main)
