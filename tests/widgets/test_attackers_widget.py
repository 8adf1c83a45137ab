"""The explorer of attackers: each attacker of a task is shown with what was achieved."""

from __future__ import annotations

import pytest

import pcvr
from pcvr import PcvrError
from pcvr.experiments.attackers import ATTACKERS, Attempt
from pcvr.plots.describe import description
from pcvr.widgets.attackers import attacker_explorer, attacker_view, attackers_of

ATTEMPTS = [
    Attempt("covers: the whole trigger", "sig", "caption", "none", 500, 512),
    Attempt("covers: the whole trigger", "sig", "caption", "pcvr", 0, 512),
    Attempt("covers: the whole trigger", "sig", "caption", "byorn"),
]


@pytest.mark.parametrize("task", ["caption", "vqa"])
def test_every_attacker_can_be_shown(task: str) -> None:
    data = pcvr.open_data("scenes", n=2, task=task)
    for name in attackers_of(task):
        for attack in ATTACKERS[name].attacks:
            figure, said = attacker_view(data, (), name, attack)
            assert "clean" in description(figure) and ATTACKERS[name].what.split()[0] in said and "not planned" in said


def test_it_follows_its_controls() -> None:
    box, controls = attacker_explorer(pcvr.open_data("scenes", n=3), ATTEMPTS)
    before = controls.picture.value
    controls.attacker.value = "covers: the whole trigger"
    assert controls.picture.value != before and "not planned" in controls.status.value
    controls.attack.value = "sig"
    assert "none: 97.7 %" in controls.status.value and "pcvr: &lt; 0.6 % (0 of 512)" in controls.status.value
    assert "byorn: not run" in controls.status.value
    before = controls.picture.value
    controls.sample.value = 2
    assert controls.picture.value != before
    controls.attacker.value = "many copies"
    assert controls.attack.options == ("badnets",) and controls.attack.value == "badnets"
    assert "Repeats the patch" in controls.status.value and box.children


@pytest.mark.parametrize(
    ("attacker", "attack", "words"),
    [
        ("cover", "sig", "unknown attacker 'cover'"),
        ("plausible answer", "sig", "unknown attacker 'plausible answer'"),
        ("many copies", "sig", "unknown attack 'sig'"),
    ],
)
def test_what_it_does_not_have(attacker: str, attack: str, words: str) -> None:
    with pytest.raises(PcvrError, match=words):
        attacker_view(pcvr.open_data("scenes", n=1), (), attacker, attack)


def test_no_data() -> None:
    from pcvr.data import Subset

    with pytest.raises(PcvrError, match="the data have no sample"):
        attacker_explorer(Subset(pcvr.open_data("scenes", n=1), []), ())
