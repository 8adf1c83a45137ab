"""How a backdoor formed in the shipped table of attacks, to lay beside a training of one's own."""

from __future__ import annotations

from dataclasses import dataclass

from pcvr.evaluation.intervals import AttackRate
from pcvr.experiments.results import load


@dataclass(frozen=True)
class Watched(AttackRate):
    """Attack success at one step.

    Attributes:
        step: optimiser steps done.
        hits: triggered images answered with the target.
        n: triggered images.
    """

    step: int
    hits: int
    n: int


def shipped_watch(attack: str, model: str, task: str, rate: float, data: str = "scenes") -> list[Watched]:
    """Return the points of the undefended training of the table ``"attacks"``; none if it has no such training.

    Args:
        attack: name of the attack, with its default options.
        model: name of the model.
        task: name of the task.
        rate: fraction of the training samples that were poisoned.
        data: name of the data.
    """
    for run in load("attacks").runs:
        said = run["experiment"]
        same = (said["attack"], said["model"], said["task"], said["rate"], said["data"])
        if same == (attack, model, task, rate, data) and not said["attack_options"] and run.get("watch"):
            return [Watched(point["step"], point["hits"], point["n"]) for point in run["watch"]]
    return []
