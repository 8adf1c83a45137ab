"""The plan of benchmarks/away.py: each case with and without the defence, on every task and answer it names."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import Any

import pytest

from benchmarks.away import PARTS, PLAUSIBLE, SCHEDULES, plan
from pcvr.attacks import ANSWERS, get_attack
from pcvr.errors import PcvrError
from pcvr.experiments import Experiment
from pcvr.experiments.experiment import LATER
from pcvr.experiments.novelties import NOVELTIES
from pcvr.experiments.results import Table
from pcvr.experiments.run import materials_of, run_experiment
from pcvr.experiments.second_attacker import SECOND_TARGETS, each_attacker, second_attack

PLAN = plan()


def test_each_case_has_an_undefended_twin() -> None:
    assert len({one.key for one in PLAN}) == len(PLAN), "nothing runs twice"
    for one in PLAN:
        assert replace(one, defense="none" if one.defense == "pcvr" else "pcvr") in PLAN


def test_every_declared_case_is_there() -> None:
    labels = {one.label for one in PLAN}
    assert labels >= set(SCHEDULES) | {f"new: {name}" for name in NOVELTIES}
    assert labels >= {f"answer {mode}" for mode in ANSWERS if mode != "replace"}
    assert labels >= {f"target “{target}”" for targets in PLAUSIBLE.values() for target in targets}
    assert {one.attack for one in PLAN} == {"badnets", "sig", "rare_word", "wandering"}
    assert {one.rate for one in PLAN} >= {0.0, 0.005, 0.01, 0.05}
    assert all((one.rate == 0) == bool(one.novelty) for one in PLAN)


def test_every_attack_can_be_built() -> None:
    for one in PLAN:
        get_attack(one.attack, task=one.task, **one.attack_options)


def test_seeds_and_parts() -> None:
    assert len(plan(3)) == 3 * len(PLAN)
    assert Counter(one.seed for one in plan(3)) == dict.fromkeys(range(3), len(PLAN))
    assert [one for part in PARTS for one in plan(parts=(part,))] == PLAN


def test_later_fields_leave_old_keys() -> None:
    old = Experiment("x")
    assert replace(old, **LATER).key == old.key
    changes: dict[str, Any] = {
        "batch_size": 8,
        "learning_rate": 0.1,
        "num_train_epochs": 1.0,
        "novelty": "style",
        "second": "blended",
    }
    keys = {replace(old, **{name: value}).key for name, value in changes.items()}
    assert len(keys | {old.key}) == len(changes) + 1


def test_two_attackers_have_a_row_each() -> None:
    """Each has its own samples, target and record; the gate is judged on the samples of both."""
    small = Experiment("x", second="blended", rate=0.1, samples=40, tests=6, max_steps=2, batch_size=8)
    given = materials_of(small)
    assert len(given.poisoned) == 8 and given.second is not None
    assert (given.second.name, given.attack.name) == ("blended", "badnets")
    labels = [given.train[index].answer for index in given.poisoned]
    assert sorted(map(labels.count, {given.attack.target, given.second.target})) == [4, 4]
    run = run_experiment(small)
    table = Table("a command", "2026-12-01", {}, "", {}, [run])
    cells = each_attacker(table).cells(("label", "attack"))
    assert [*cells] == [("x", "badnets"), ("x", "blended")]
    assert run["second"]["attack"]["target"] == SECOND_TARGETS["caption"]
    assert cells["x", "blended"].rates.hits == (run["second"]["hits"],)
    alone = replace(table, runs=[{name: value for name, value in run.items() if name != "second"}])
    assert each_attacker(alone).runs == alone.runs


@pytest.mark.parametrize(("change", "said"), [({"second": "badnets"}, "give another one"), ({"task": "x"}, "task")])
def test_a_second_attacker_that_is_none(change: dict[str, str], said: str) -> None:
    assert second_attack(Experiment("x")) is None
    with pytest.raises(PcvrError, match=said):
        second_attack(replace(Experiment("x", second="blended"), **change))  # type: ignore[arg-type]


@pytest.mark.parametrize(("defense", "flags"), [("none", False), ("pcvr", True)])
def test_a_run_reports_what_is_new(defense: str, flags: bool) -> None:
    small = Experiment(
        "x",
        defense,
        novelty="left colour",
        task="vqa",
        rate=0.0,
        samples=40,
        tests=6,
        num_train_epochs=1.0,
        batch_size=8,
    )
    found = run_experiment(small)
    new = found["novel"]
    assert 0 <= new["right"] <= new["n"] == 6 and new["trained"] == 4
    assert 0 <= new["flagged"] <= (4 if flags else 0)
