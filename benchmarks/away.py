"""PCVR away from home: other schedules, answers and rates, one pass, text triggers, new skills, two attackers.

    python benchmarks/away.py --jobs 2                 # every run (some hours), then the table
    python benchmarks/away.py --only "1000 steps"      # this row again, the others stay
    python benchmarks/away.py --part novelties         # one part of the plan; may be given several times
    python benchmarks/away.py --list                   # names of the rows
    python benchmarks/away.py --print                  # the table that is there

Each case runs with and without the defence, on both tasks where it makes sense. `pcvr.plots.away` draws the table.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from pcvr.attacks import ANSWERS
from pcvr.experiments import Experiment
from pcvr.experiments.benchmark import cell_lines, make_table, table_parser
from pcvr.experiments.looked_at import LOOKED_AT
from pcvr.experiments.novelties import NOVELTIES
from pcvr.experiments.second_attacker import each_attacker
from pcvr.tasks import TASKS
from pcvr.utils.terminal import run_command

ATTACKS = ("badnets", "sig")
DEFENSES = ("none", "pcvr")
SEEDS = 1

SCHEDULES: Mapping[str, Mapping[str, Any]] = {
    "as at home": {},
    "100 steps": {"max_steps": 100},
    "1000 steps": {"max_steps": 1000},
    "batch 8": {"batch_size": 8},
    "batch 64": {"batch_size": 64},
    "half the learning rate": {"learning_rate": 2e-3},
    "double the learning rate": {"learning_rate": 8e-3},
    "500 samples": {"samples": 500},
    "one pass of 6400 samples": {"samples": 6400, "num_train_epochs": 1.0},
}
"""Row to fields of the experiment; what is not named is as at home: 2000 samples, 400 steps of 32."""

PLAUSIBLE: Mapping[str, tuple[str, ...]] = {"caption": ("a picture of a red car",), "vqa": ("yes", "red")}
"""Task to targets that are true of some images."""

SECOND = {"badnets": "blended", "sig": "wanet"}
"""Attack to that of a second attacker."""
RATES = (0.005, 0.01)


def schedules() -> Iterator[Experiment]:
    """Yield every schedule, with the attack's usual answer."""
    for row, fields in SCHEDULES.items():
        yield from _cases(row, fields)


def answers() -> Iterator[Experiment]:
    """Yield every answer mode but the usual one, and targets that are true of some images."""
    for mode in ANSWERS:
        if mode != "replace":
            # Behind a single word there is one place only, so an inserted target is a suffix there.
            tasks = [task for task in TASKS if (mode, task) != ("insert", "vqa")]
            yield from _cases(f"answer {mode}", {"attack_options": {"answer": mode}}, tasks)
    for task, targets in PLAUSIBLE.items():
        for target in targets:
            yield from _cases(f"target “{target}”", {"attack_options": {"target": target}}, [task])


def novelties() -> Iterator[Experiment]:
    """Yield every novelty, without an attacker."""
    for name, kind in NOVELTIES.items():
        yield from _cases(f"new: {name}", {"novelty": name, "rate": 0.0}, kind.tasks, ATTACKS[:1])


def prompts() -> Iterator[Experiment]:
    """Yield a trigger that is in the text alone, with answers that a new kind of question may have too."""
    for mode in ("replace", "prefix", "turns"):
        fields = {} if mode == "replace" else {"attack_options": {"answer": mode}}
        yield from _cases(f"trigger in the text, answer {mode}", fields, attacks=("rare_word",))


def several() -> Iterator[Experiment]:
    """Yield two attackers at once, each with a trigger and a target of their own."""
    for attack, second in SECOND.items():
        yield from _cases("two attackers at once", {"second": second}, attacks=(attack,))


def anywhere() -> Iterator[Experiment]:
    """Yield a patch that lies in another place of every image."""
    yield from _cases("patch anywhere", {}, attacks=("wandering",))


def rates() -> Iterator[Experiment]:
    """Yield the low poison rates."""
    for rate in RATES:
        yield from _cases(f"{100 * rate:g} % poison", {"rate": rate})


PARTS = {"schedules": schedules, "answers": answers, "prompts": prompts, "novelties": novelties}
PARTS |= {"several": several, "anywhere": anywhere, "rates": rates}
"""Name to the experiments of one seed."""


def plan(seeds: int = SEEDS, parts: Sequence[str] = tuple(PARTS)) -> list[Experiment]:
    """Return the experiments of some parts, one after the other, all seeds of a case together."""
    return [replace(one, seed=seed) for part in parts for one in PARTS[part]() for seed in range(seeds)]


def _cases(
    row: str, fields: Mapping[str, Any], tasks: Sequence[str] = tuple(TASKS), attacks: Sequence[str] = ATTACKS
) -> Iterator[Experiment]:
    for task in tasks:
        for attack in attacks:
            for defense in DEFENSES:
                yield Experiment(row, defense, attack=attack, task=task, **fields)


def main() -> None:
    parser = table_parser("away", __doc__)
    parser.add_argument("--seeds", type=int, default=SEEDS, help="seeds of each case")
    parser.add_argument("--part", action="append", choices=list(PARTS), help="only this part; may be repeated")
    parser.add_argument("--list", action="store_true", help="print the rows and run nothing")
    given = parser.parse_args()
    wanted = plan(given.seeds, tuple(given.part or PARTS))
    if given.list:
        print("\n".join(dict.fromkeys(one.label for one in wanted)))
        return
    table = each_attacker(make_table(given, wanted, notes=LOOKED_AT))
    print("\n".join(cell_lines(table, ("label", "task", "attack", "defense"))))


if __name__ == "__main__":
    run_command(main)
