"""The parts of PCVR, one left out at a time."""

from __future__ import annotations

import pytest

from pcvr import PCVR, get_defense
from pcvr.experiments.parts import PARTS, PLAUSIBLE, PROPOSERS, part_experiments


@pytest.mark.parametrize("part", PARTS)
def test_each_part_changes_the_defence_and_is_accepted(part: str) -> None:
    rule = get_defense("pcvr", **PARTS[part])
    assert isinstance(rule, PCVR)
    assert (rule == PCVR()) == (part == "all parts")


def test_every_part_has_an_early_and_a_late_case_in_both_tasks() -> None:
    plan = list(part_experiments(seeds=3))
    plausible = [each for each in plan if each.label.endswith(", plausible target")]
    assert len(plan) == 3 * 2 * (2 * len(PARTS) + len(PROPOSERS)) == len({each.key for each in plan})
    late = [each for each in plan if each.label.endswith(", late")]
    assert len(late) == 3 * 2 * len(PARTS) and {each.options["late_start"] for each in late} == {200}
    assert {(each.task, each.attack_options["target"]) for each in plausible} == set(PLAUSIBLE.items())
    assert {(each.task, each.seed) for each in plan} == {
        (task, seed) for task in ("caption", "vqa") for seed in range(3)
    }
