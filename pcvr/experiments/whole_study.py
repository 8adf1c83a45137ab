"""The plan of this project's study: fair rivals, three model families, poison rates, and attackers who know.

Each rival runs at its paper's settings, as far as we know them, and at the best settings found with what was spent on
PCVR: two attacks (row ", tuned"). These are chosen on validation scenes. The three best rivals run with three seeds, on
the other model families and against attackers who know the defence; until they are chosen, the plan has no such rows.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pcvr.experiments.attackers import ATTACKERS, Attacker
from pcvr.experiments.experiment import HEADLINE, Experiment, further_attacks
from pcvr.experiments.rivals import RIVALS, TUNED_ON, Rival, tuning
from pcvr.tasks import TASKS
from pcvr.utils.files import read_json

if TYPE_CHECKING:
    from pcvr.experiments.study import Store

FOLDER = Path(__file__).parent / "results" / "study"
"""The shipped store, and what was chosen from it."""
SETTINGS = FOLDER / "settings.json"
FAMILIES = ("tiny-blip2", "tiny-idefics3")
ON_FAMILIES = ("badnets", "sig", "dual_key")
RATES = (0.005, 0.01, 0.02, 0.1, 0.2)
"""Beside 5 %, which every other part has."""
SEEDS = 3
NEAR = Attacker("Leaves the trigger as it is; triggers near it are tried too.", {"near": 128}, (*TUNED_ON, "dual_key"))
"""Not an attacker of its own: does a backdoor, or what a defence leaves of it, fire on near triggers?"""
OURS: Mapping[str, Rival] = {"none": Rival("none"), "pcvr": Rival("pcvr")}


def rows() -> dict[str, Rival]:
    """Return every row of the table: no defence and PCVR, each rival, and each rival as it was tuned."""
    found = {**OURS, "pcvr_paper": Rival("pcvr_paper"), **RIVALS}
    for row, options in settings().get("options", {}).items():
        if options != dict(RIVALS[row].options):
            found[f"{row}, tuned"] = Rival(RIVALS[row].defense, options, RIVALS[row].clean)
    return found


def origin(row: str) -> str:
    """Return where a row's settings are from: ``"its paper"``, ``"ours"`` or ``"tuned"``."""
    if row.endswith(", tuned"):
        return "tuned"
    return "its paper" if row in RIVALS and RIVALS[row].known else "ours"


def best() -> dict[str, Rival]:
    """Return no defence, PCVR, and the three best rivals once they are chosen."""
    every = rows()
    return {row: every[row] for row in (*OURS, *settings().get("best", ()))}


def settings() -> dict[str, Any]:
    """Return what was chosen: ``options`` of each rival, and the rows that are ``best``; empty before that."""
    return read_json(SETTINGS, "the chosen settings") if SETTINGS.is_file() else {}


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
    """Yield no defence and PCVR against every other registered attack that does not know PCVR, on its tasks."""
    known = {attack for attacker in ATTACKERS.values() for attack in attacker.attacks if attack not in HEADLINE}
    for attack in (name for name in further_attacks() if name not in known):
        for row, rival in OURS.items():
            for task in TASKS if attack != "shadowcast" else ("caption",):
                yield rival.cell(row, attack=attack, task=task)


def attackers() -> Iterator[Experiment]:
    """Yield attackers who know the defence, and near triggers, against the best rows."""
    for row, rival in best().items():
        for attacker in (*ATTACKERS.values(), NEAR):
            yield from attacker.cells(row, rival)


PARTS = {
    "tuning": tuning,
    "main table": main_table,
    "families": families,
    "rates": rates,
    "other attacks": other_attacks,
    "attackers": attackers,
}
"""Name to the cells of a part, in the order in which they are run."""


def shipped() -> Store:
    """Return the shipped store, to read; a study of your own writes a store of its own."""
    from pcvr.experiments.study import Store

    return Store(FOLDER)


def plan() -> list[Experiment]:
    """Return every cell of the study, in the order in which they are run."""
    return [cell for part in PARTS.values() for cell in part()]
