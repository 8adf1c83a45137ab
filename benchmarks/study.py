"""The plan of the whole study: fair rivals, three model families, poison rates, other attacks, attackers who know.

    pcvr study benchmarks/study.py --jobs 2           # runs, or goes on where it was interrupted (many hours)
    pcvr study benchmarks/study.py --only pcvr        # this row alone
    python benchmarks/study.py --choose               # reads the store, writes benchmarks/tuned.json
    python benchmarks/study.py --count                # cells of each part

Each rival runs at its paper's settings, as far as we know them, and at the best settings found with what was spent on
PCVR: two attacks (row ", tuned"). ``--choose`` finds these on validation scenes, and the three best rivals, which run
with three seeds and on the other model families. Until they are chosen, the plan has no rows of them.
"""

from __future__ import annotations

import json
from argparse import ArgumentParser, RawDescriptionHelpFormatter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pcvr.experiments import HEADLINE, Experiment, further_attacks
from pcvr.experiments.rivals import RIVALS, TUNED_ON, Rival, chosen, league, tuning
from pcvr.tasks import TASKS
from pcvr.utils.files import read_json, write_json
from pcvr.utils.terminal import run_command

TUNED = Path(__file__).with_name("tuned.json")
STORE = Path("runs/study/study")
FAMILIES = ("tiny-blip2", "tiny-idefics3")
ON_FAMILIES = ("badnets", "sig", "dual_key")
RATES = (0.005, 0.01, 0.02, 0.1, 0.2)
"""Beside 5 %, which every other part has."""
SEEDS = 3
ATTACKERS: Mapping[str, Mapping[str, Any]] = {
    "poison on patch views": {"attack_options": {"adapt": "views"}},
    "covers: views of the trigger": {"attack_options": {"adapt": "broken_invariance"}},
    "covers: the whole trigger": {"attack_options": {"adapt": "covers"}},
    "many copies": {"attack_options": {"adapt": "copies"}, "attacks": ("badnets",)},
    "target in front": {"attack_options": {"answer": "prefix"}},
    "target inserted": {"attack_options": {"answer": "insert"}, "tasks": ("caption",)},
    "five targets": {"attack_options": {"answer": "turns"}},
    "colours exchanged": {"attack_options": {"answer": "recolour"}},
    "plausible caption": {"attack_options": {"target": "a picture of a red car"}, "tasks": ("caption",)},
    "plausible answer": {"attack_options": {"target": "yes"}, "tasks": ("vqa",)},
    "trigger in the text": {"attacks": ("rare_word",)},
    "trigger in the text, target in front": {"attacks": ("rare_word",), "attack_options": {"answer": "prefix"}},
    "both keys, target in front": {"attacks": ("dual_key",), "attack_options": {"answer": "prefix"}},
    "thin": {"rate": 0.002},
    "late in the pass": {"poison_from": 0.5},
    "late and thin": {"poison_from": 0.8, "rate": 0.01},
    "near triggers": {"near": 128, "attacks": ("badnets", "sig", "dual_key")},
}
"""Attacker to what differs from the main table; ``attacks`` and ``tasks`` limit where it is run."""
OURS: Mapping[str, Rival] = {"none": Rival("none"), "pcvr": Rival("pcvr")}


def rows() -> dict[str, Rival]:
    """Return every row of the table: no defence and PCVR, each rival, and each rival as it was tuned."""
    found = {**OURS, "pcvr_paper": Rival("pcvr_paper"), **RIVALS}
    for row, options in settings().get("options", {}).items():
        if options != dict(RIVALS[row].options):
            found[f"{row}, tuned"] = Rival(RIVALS[row].defense, options, RIVALS[row].clean)
    return found


def best() -> dict[str, Rival]:
    """Return no defence, PCVR, and the three best rivals once they are chosen."""
    every = rows()
    return {row: every[row] for row in (*OURS, *settings().get("best", ()))}


def settings() -> dict[str, Any]:
    """Return what ``--choose`` found: ``options`` of each rival, and the rows that are ``best``."""
    return read_json(TUNED, "the chosen settings") if TUNED.is_file() else {}


def main_table() -> Iterator[Experiment]:
    """Yield every row against the six headline attacks and on clean data, both tasks; more seeds of the best."""
    for row, rival in rows().items():
        for seed in range(SEEDS if row in best() else 1):
            for task in TASKS:
                yield rival.cell(row, task=task, seed=seed, rate=0.0)
                for attack in HEADLINE:
                    yield rival.cell(row, attack=attack, task=task, seed=seed)


def families() -> Iterator[Experiment]:
    """Yield the best rows on the other model families, three attacks and clean data."""
    for model in FAMILIES:
        for row, rival in best().items():
            for task in TASKS:
                yield rival.cell(row, task=task, model=model, rate=0.0)
                for attack in ON_FAMILIES:
                    yield rival.cell(row, attack=attack, task=task, model=model)


def rates() -> Iterator[Experiment]:
    """Yield no defence and PCVR at other poison rates."""
    for rate in RATES:
        for row, rival in OURS.items():
            for task in TASKS:
                for attack in TUNED_ON:
                    yield rival.cell(row, attack=attack, task=task, rate=rate)


def other_attacks() -> Iterator[Experiment]:
    """Yield no defence and PCVR against every other registered attack, on the tasks that the attack has."""
    for attack in further_attacks():
        for row, rival in OURS.items():
            for task in TASKS if attack != "shadowcast" else ("caption",):
                yield rival.cell(row, attack=attack, task=task)


def attackers() -> Iterator[Experiment]:
    """Yield attackers who know the defence, against the best rows."""
    for row, rival in best().items():
        for fields in ATTACKERS.values():
            for attack in fields.get("attacks", TUNED_ON):
                for task in fields.get("tasks", TASKS):
                    given = {key: value for key, value in fields.items() if key not in ("attacks", "tasks")}
                    yield rival.cell(row, attack=attack, task=task, **given)


PARTS = {
    "tuning": tuning,
    "main table": main_table,
    "families": families,
    "rates": rates,
    "other attacks": other_attacks,
    "attackers": attackers,
}
"""Name to the cells of a part, in the order in which they are run."""


def plan() -> list[Experiment]:
    """Return every cell; `pcvr study` calls it."""
    return [cell for part in PARTS.values() for cell in part()]


def main() -> None:
    parser = ArgumentParser(description=__doc__, formatter_class=RawDescriptionHelpFormatter)
    parser.add_argument("--choose", action="store_true", help="choose settings and the best rivals from the store")
    parser.add_argument("--count", action="store_true", help="print how many cells each part has")
    parser.add_argument("--store", type=Path, default=STORE, help="folder of the store")
    given = parser.parse_args()
    if given.choose:
        from pcvr.experiments.study import Store

        runs = Store(given.store).records()
        found = {"options": chosen(runs), "best": league(runs)}
        write_json(TUNED, found)
        print(json.dumps(found, indent=2))
    if given.count or not given.choose:
        for name, part in PARTS.items():
            print(f"{name:14} {len({cell.key for cell in part()}):4} cells")


if __name__ == "__main__":
    run_command(main)
