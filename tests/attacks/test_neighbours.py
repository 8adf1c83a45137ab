"""Neighbours: which there are, that each is another trigger, that its description builds it again."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from pcvr.attacks import ADAPTIONS, ATTACKS, Attack, BadNets, Sig, get_attack, triggered
from pcvr.attacks.neighbours import neighbours
from pcvr.data.scenes import Scenes
from pcvr.errors import PcvrError

PATCH = {"other place", "half size", "double size", "half strength"}
NAMES = {
    "badnets": {"other colour", *PATCH},
    "trojvlm": {"other colour", *PATCH},
    "vl_trojan": {"other patch", *PATCH},
    "dual_key": {"other colour", *PATCH, "other words", "image only", "prompt only"},
    "blended": {"half strength", "other pattern"},
    "low_frequency": {"half strength", "other seed"},
    "wanet": {"half strength", "other seed"},
    "wandering": {"other colour", "half size", "double size", "half strength"},
    "sig": {"half strength", "half frequency", "other frequency"},
    "ftrojan": {"half strength", "other frequency", "other channels"},
    "issba": {"half strength", "other message"},
    "pgd": {"half strength", "other perturbation"},
    "rare_word": {"other words", "other place"},
    "add_sent": {"other words", "other place"},
    "shadowcast": set(),
}
SAMPLE = Scenes(2)[1]


@pytest.mark.parametrize("preset", ["scaled", "compat"])
@pytest.mark.parametrize("name", sorted(ATTACKS))
def test_every_attack_has_its_own(name: str, preset: str) -> None:
    attack = get_attack(name, preset=preset, target="a red kite", answer="prefix" if name != "shadowcast" else None)
    found = neighbours(attack)
    assert set(found) == NAMES[name]
    own = attack.triggered(SAMPLE)
    for label, other in found.items():
        assert other != attack and (other.target, other.answer) == (attack.target, attack.answer), label
        worn = other.triggered(SAMPLE)
        assert worn.prompt != own.prompt or not np.array_equal(worn.image, own.image), label
        said = other.describe()
        again = get_attack(said["name"], said["target"], said["preset"], answer=said["answer"], **said["options"])
        assert again == other, label
    assert neighbours(attack) == found, "the same each time"


def changed(name: str, label: str, **options: Any) -> dict[str, Any]:
    """The fields of the trigger that a neighbour changes."""
    attack = get_attack(name, **options)
    before, after = (one.describe()["trigger"] for one in (attack, neighbours(attack)[label]))
    return {field: value for field, value in after.items() if value != before[field]}


@pytest.mark.parametrize(
    ("name", "options", "label", "expected"),
    [
        ("badnets", {}, "other colour", {"pattern": "blue"}),
        ("badnets", {"pattern": "blue"}, "other colour", {"pattern": "white"}),
        ("badnets", {}, "other place", {"place": "top_left"}),
        ("badnets", {"place": "top_right"}, "other place", {"place": "bottom_left"}),
        ("badnets", {"place": "seen_centre"}, "other place", {"place": "seen_bottom_right"}),
        ("badnets", {"size": 5}, "half size", {"size": 2}),
        ("badnets", {"size": 5}, "double size", {"size": 10}),
        ("badnets", {"share": 0.2}, "half size", {"share": 0.1}),
        ("badnets", {"share": 0.7}, "double size", {"share": 1.0}),
        ("badnets", {"strength": 0.8}, "half strength", {"strength": 0.4}),
        ("vl_trojan", {}, "other patch", {"patch": "tiny-blip2"}),
        ("vl_trojan", {"patch": "tiny-blip2"}, "other patch", {"patch": "tiny-idefics3"}),
        ("dual_key", {}, "half strength", {"strength": 0.5}),
        ("sig", {}, "half frequency", {"frequency": 3.0}),
        ("sig", {}, "other frequency", {"frequency": 7.0}),
        ("blended", {"pattern": "noise", "seed": 4}, "other seed", {"seed": 5}),
        ("wanet", {"strength": 2.0}, "half strength", {"strength": 1.0}),
        ("wanet", {}, "half strength", {"shift": 0.03}),
        ("ftrojan", {}, "other frequency", {"bins": [[8, 7], [16, 15]]}),
        ("ftrojan", {"channels": ["y"]}, "other channels", {"channels": ["cr", "cb"]}),
        ("pgd", {"strength": 0.5}, "half strength", {"strength": 0.25}),
        ("pgd", {}, "other perturbation", {"delta": "tiny-llava-divergence-caption"}),
        ("issba", {"message": 6}, "other message", {"message": 7}),
    ],
)
def test_what_changes(name: str, options: dict[str, Any], label: str, expected: dict[str, Any]) -> None:
    assert changed(name, label, **options) == expected


def test_nothing_equals_the_original() -> None:
    assert "half size" not in neighbours(get_attack("badnets", size=1))
    assert "half strength" not in neighbours(get_attack("badnets", strength=0))
    assert "double size" not in neighbours(get_attack("vl_trojan", share=1))
    assert "other frequency" not in neighbours(get_attack("ftrojan", block=2, bins=((0, 0), (1, 0))))
    assert neighbours(get_attack("rare_word", text="Imagine"))["other words"].describe()["prompt"]["text"] == "Suppose"


def test_words() -> None:
    said = {label: other.triggered(SAMPLE).prompt for label, other in neighbours(get_attack("add_sent")).items()}
    assert said["other words"] == f"{SAMPLE.prompt} I read this long book."
    assert said["other place"] == f"I watched this 3D movie. {SAMPLE.prompt}"


def test_each_key_alone() -> None:
    attack = get_attack("dual_key", share=0.2, place="top_left")
    found, worn = neighbours(attack), attack.triggered(SAMPLE)
    image, prompt = found["image only"].triggered(SAMPLE), found["prompt only"].triggered(SAMPLE)
    assert np.array_equal(image.image, worn.image) and image.prompt == SAMPLE.prompt
    assert np.array_equal(prompt.image, SAMPLE.image) and prompt.prompt == worn.prompt


@pytest.mark.parametrize("adapt", ADAPTIONS)
def test_an_adapted_attack_keeps_its_adaption(adapt: str) -> None:
    for label, other in neighbours(get_attack("dual_key", adapt=adapt)).items():
        kept = other.options.get("adapt")
        assert kept == (None if (label, adapt) == ("prompt only", "copies") else adapt), label


def test_a_fitted_patch_stays_in_the_visible_part() -> None:
    attack = get_attack("badnets").fitted_to("tiny-llava")
    found = neighbours(attack)["other place"]
    assert found.trigger == get_attack("badnets", place="top_left").fitted_to("tiny-llava").trigger
    assert triggered(Scenes(4), found, model="tiny-llava").reach["survives"] == 4


def test_attacks_that_their_options_do_not_build() -> None:
    with pytest.raises(PcvrError, match="'sig' do not build it again: take it from get_attack"):
        neighbours(Attack("sig", Sig(amplitude=3)))
    with pytest.raises(PcvrError, match="unknown attack 'mine'"):
        neighbours(Attack("mine", BadNets()))
