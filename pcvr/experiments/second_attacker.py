"""Two attackers at once: what the second one wants, and a row in a table for each of them."""

from __future__ import annotations

from dataclasses import replace

from pcvr.attacks import Attack, get_attack
from pcvr.errors import PcvrError
from pcvr.experiments.experiment import Experiment
from pcvr.experiments.results import Table
from pcvr.utils.checks import check_choice

SECOND_TARGETS = {"caption": "a photo of the clock", "vqa": "clock"}
"""Task to the target of a second attacker."""


def second_attack(experiment: Experiment) -> Attack | None:
    """Return the attack of an experiment's second attacker, or None if there is none.

    Raises:
        PcvrError: both attackers have the same attack, or the task has no target for the second one.
    """
    if not experiment.second:
        return None
    if experiment.second == experiment.attack:
        raise PcvrError(
            f"second is {experiment.second!r}, the first attacker's attack: give another one, or leave it out."
        )
    check_choice("task of an experiment with two attackers", experiment.task, tuple(SECOND_TARGETS))
    return get_attack(experiment.second, task=experiment.task, target=SECOND_TARGETS[experiment.task])


def each_attacker(table: Table) -> Table:
    """Return a table in which a run with two attackers is two: one with the record of each attack."""
    runs = []
    for run in table.runs:
        runs.append(run)
        if "second" in run:
            other = run["experiment"] | {"attack": run["experiment"]["second"], "second": run["experiment"]["attack"]}
            runs.append(run | {"experiment": other, "record": run["second"]})
    return replace(table, runs=runs)
