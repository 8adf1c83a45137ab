"""The attack lab: which attacks succeed, on which models and tasks, and from which poison rate.

    python benchmarks/attacks.py --jobs 2     # every run (some two hours), then the table
    python benchmarks/attacks.py --only sig   # this attack again, or a new one; the others stay
    python benchmarks/attacks.py --print      # the shipped table

Six attacks at 5 %, three seeds, both tasks, on tiny-llava; the same on the other models, one seed; the further attacks,
one seed; then the lowest rate at which each of the six still succeeds. `python tools/readme.py` writes the README's
table and picture.
"""

from __future__ import annotations

from collections.abc import Iterator
from statistics import mean

from pcvr.experiments import HEADLINE, Experiment, further_attacks
from pcvr.experiments.benchmark import Runs, cell_lines, make_table, table_parser
from pcvr.models.zoo import EMBEDDED
from pcvr.plots.attack_lab import TAKES
from pcvr.tasks import TASKS
from pcvr.utils.terminal import run_command

MAIN = "tiny-llava"
SEEDS = (0, 1, 2)
LOWER = (0.02, 0.01, 0.005)


def plan() -> list[Experiment]:
    """Return all experiments at 5 %."""
    return [*headline(), *families(), *further()]


def headline() -> Iterator[Experiment]:
    """Yield six attacks and no attack, three seeds."""
    for task in TASKS:
        for seed in SEEDS:
            yield Experiment("clean", model=MAIN, task=task, seed=seed, rate=0.0)
            for attack in HEADLINE:
                watch = 25 if seed == SEEDS[0] else 0
                yield Experiment(attack, attack=attack, model=MAIN, task=task, seed=seed, watch=watch)


def families() -> Iterator[Experiment]:
    """Yield the same on the other models, one seed."""
    for model in EMBEDDED:
        if model != MAIN:
            for task in TASKS:
                yield Experiment("clean", model=model, task=task, rate=0.0)
                for attack in HEADLINE:
                    yield Experiment(attack, attack=attack, model=model, task=task)


def further() -> Iterator[Experiment]:
    """Yield every other attack, one seed. Shadowcast needs answers that name objects, as captions do."""
    for attack in further_attacks():
        for task in TASKS:
            if attack != "shadowcast" or task == "caption":
                yield Experiment(attack, attack=attack, model=MAIN, task=task)
    # Do the true samples of the original concept make Shadowcast fail?
    yield Experiment("shadowcast, no true cars", attack="shadowcast", model=MAIN, without="car")
    for task in TASKS:  # the field of the paper, as strong as the preset's
        yield Experiment("wanet, 4 points", attack="wanet", attack_options={"cells": 4}, model=MAIN, task=task)


def other_rates(done: Runs) -> list[Experiment]:
    """Return the next rate for each of the six: lower while it succeeds, higher once if 5 % fails; one seed."""
    rates: dict[tuple[str, str], dict[float, list[float]]] = {}
    for run in done:
        said = run["experiment"]
        if said["model"] == MAIN and said["label"] in HEADLINE:
            rates.setdefault((said["label"], said["task"]), {}).setdefault(said["rate"], []).append(
                run["record"]["asr"]
            )
    found = []
    for (attack, task), rate in ((case, next_rate(tried)) for case, tried in rates.items()):
        if rate is not None:
            found.append(Experiment(attack, attack=attack, model=MAIN, task=task, rate=rate))
    return found


def next_rate(tried: dict[float, list[float]]) -> float | None:
    """Return the next rate to try, from the success rates at each rate so far; None if there is nothing to try."""
    if mean(tried[0.05]) < TAKES:
        return None if 0.1 in tried else 0.1
    if mean(tried[min(tried)]) < TAKES:
        return None
    return next((rate for rate in LOWER if rate not in tried), None)


def main() -> None:
    table = make_table(table_parser("attacks", __doc__).parse_args(), plan(), follow=other_rates)
    print("\n".join(cell_lines(table, ("model", "task", "label", "rate"))))


if __name__ == "__main__":
    run_command(main)
