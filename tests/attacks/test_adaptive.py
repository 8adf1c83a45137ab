"""Attackers who know the defence: with every attack, in manifests and folders, for a model's visible part, refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pcvr.attacks import (
    ADAPTIONS,
    ATTACKS,
    Attack,
    Cover,
    PoisonedDataset,
    Words,
    get_attack,
    load_poisoned,
    poison,
    save_poisoned,
    triggered,
)
from pcvr.attacks.composed import Copies, InTurn, Perturbed
from pcvr.attacks.manifest import Manifest
from pcvr.attacks.placing import innermost
from pcvr.attacks.trigger import Patch
from pcvr.data.scenes import Scenes
from pcvr.errors import PcvrError
from pcvr.experiments.experiment import Experiment
from pcvr.experiments.run import materials_of
from tests.attacks.test_reach import Photos
from tests.tiny import Numbers

NEEDS = {"broken_invariance": "no trigger that a cover", "covers": "no trigger that a cover", "copies": "no patch"}


def can(name: str, adapt: str) -> bool:
    """Whether this attack has what the adaption changes."""
    plain = get_attack(name)
    return {"views": True, "copies": isinstance(plain.trigger, Patch)}.get(adapt, not plain.clean_label)


@pytest.mark.parametrize("adapt", ADAPTIONS)
@pytest.mark.parametrize("name", sorted(ATTACKS))
def test_every_attack_is_adapted_or_refused_with_one_sentence(name: str, adapt: str) -> None:
    if not can(name, adapt):
        with pytest.raises(PcvrError, match=NEEDS[adapt]) as said:
            get_attack(name, adapt=adapt)
        assert repr(name) in str(said.value) and ". " not in str(said.value)
        return
    plain, attack = get_attack(name), get_attack(name, adapt=adapt)
    assert attack != plain and attack.name == name
    said_of = attack.describe()
    assert said_of["options"] == {"adapt": adapt} and said_of != plain.describe() | {"options": {"adapt": adapt}}
    assert json.loads(json.dumps(said_of)) == said_of
    if adapt != "copies":
        sample = Scenes(2)[1]
        assert np.array_equal(attack.triggered(sample).image, plain.triggered(sample).image), "the plain trigger"
        assert attack.triggered(sample).prompt == plain.triggered(sample).prompt


@pytest.mark.parametrize("adapt", ADAPTIONS)
@pytest.mark.parametrize("name", ["badnets", "blended", "dual_key", "rare_word", "vl_trojan"])
@pytest.mark.parametrize("form", ["llava", "datasets"])
def test_a_folder_builds_it_again(name: str, adapt: str, form: str, tmp_path: Path) -> None:
    if not can(name, adapt):
        return
    data = poison(Scenes(40), get_attack(name, adapt=adapt), 0.1, model="tiny-llava")
    again = load_poisoned(save_poisoned(data, tmp_path / "data", form=form, progress=False))
    assert again.attack == data.attack and again.manifest == data.manifest
    twin = poison(Scenes(40), again.attack, 0.1)
    assert twin.manifest.sha256 == data.manifest.sha256, "the same samples, to the bit"


def test_the_manifest_says_everything() -> None:
    made = get_attack("badnets", adapt="broken_invariance", adapt_share=1, adapt_operator="mean", size=5)
    said = Manifest.from_json(poison(Scenes(40), made, 0.1).manifest.to_json()).attack
    (cover,) = said["covers"]
    assert (cover["name"], cover["share"], cover["trigger"]["type"]) == ("view of the trigger", 1, "InTurn")
    assert cover["trigger"]["inner"]["type"] == "BadNets" and cover["trigger"]["inner"]["size"] == 5
    assert cover["trigger"]["then"] == {
        "type": "Perturbed", "operator": "mean", "fraction": 0.6, "patch": None, "share": 1 / 6, "seed": 0
    }  # fmt: skip
    assert get_attack("badnets", adapt="views").describe()["disguise"]["type"] == "Perturbed"
    assert get_attack("badnets", adapt="copies").describe()["trigger"]["inner"]["type"] == "BadNets"
    assert "disguise" not in get_attack("badnets").describe(), "fingerprints of plain attacks stay"


class TestViews:
    def test_only_training_poison_is_perturbed(self) -> None:
        clean, attack = Scenes(40), get_attack("sig", adapt="views")
        data, worn = poison(clean, attack, 0.1), triggered(clean, attack)
        plain = get_attack("sig")
        for index in data.poisoned:
            before = clean[index]
            assert np.array_equal(data[index].image, plain.triggered(before).image) is False
            assert np.array_equal(data[index].image, plain.trigger(Perturbed()(before.image)))  # type: ignore[misc]
            assert np.array_equal(worn[index].image, plain.triggered(before).image)
            assert data[index].answer == attack.target

    def test_the_check_looks_at_the_trigger_and_not_at_the_view(self) -> None:
        with pytest.raises(PcvrError, match="leaves 4 of 4 samples unchanged"):
            poison(Scenes(40), get_attack("badnets", adapt="views", strength=0), 0.1)
        with pytest.raises(PcvrError, match="outside the part that 'tiny-llava' sees"):
            poison(Photos((60, 90)), get_attack("badnets", adapt="views"), 0.5, model="tiny-llava")

    def test_clean_label_images_are_crafted_from_views(self) -> None:
        attack = get_attack("shadowcast", adapt="views", steps=20, step=0.4)
        data = poison(Scenes(60), attack, 0.02)
        (index,) = data.poisoned
        view = attack.disguised(data.clean[index]).image
        off = np.abs(data[index].image.astype(int) - view)
        assert 0 < off.max() <= 8


class TestCovers:
    @pytest.mark.parametrize(
        ("adapt", "cover"), [("covers", "whole trigger"), ("broken_invariance", "view of the trigger")]
    )
    @pytest.mark.parametrize(("share", "count"), [(None, 5), (0.1, 1), (1, 10), (2.5, 25)])
    def test_they_are_counted_and_true(self, adapt: str, cover: str, share: float | None, count: int) -> None:
        clean = Scenes(100)
        options: dict[str, Any] = {} if share is None else {"adapt_share": share}
        data = poison(clean, get_attack("badnets", adapt=adapt, **options), 0.1)
        assert {name: len(part) for name, part in data.manifest.covers.items()} == {cover: count}
        for index in data.manifest.covers[cover]:
            before, after = clean[index], data[index]
            worn = get_attack("badnets").triggered(before).image
            assert np.array_equal(after.image, worn if adapt == "covers" else Perturbed()(worn))
            assert (after.answer, after.references, after.prompt) == (before.answer, before.references, before.prompt)
            assert not data.is_poisoned(index)

    def test_a_text_trigger_stays_in_the_prompt(self) -> None:
        clean = Scenes(40)
        for adapt in ("covers", "broken_invariance"):
            data = poison(clean, get_attack("rare_word", adapt=adapt), 0.1)
            (part,) = data.manifest.covers.values()
            for index in part:
                assert (
                    data[index].prompt == f"{clean[index].prompt} BadMagic"
                    and data[index].answer == clean[index].answer
                )
                assert np.array_equal(data[index].image, clean[index].image) == (adapt == "covers")

    def test_dual_key_keeps_its_own(self) -> None:
        data = poison(Scenes(100), get_attack("dual_key", adapt="covers"), 0.1)
        sizes = {name: len(part) for name, part in data.manifest.covers.items()}
        assert sizes == {"image only": 10, "prompt only": 10, "whole trigger": 5}
        index = data.manifest.covers["whole trigger"][0]
        assert data[index].prompt.startswith("Consider ") and data[index].answer == data.clean[index].answer

    @settings(max_examples=60, deadline=None)
    @given(
        counts=st.tuples(st.integers(1, 40), st.integers(1, 40)).map(sorted),
        shares=st.lists(st.floats(0.01, 2), min_size=1, max_size=3),
        seed=st.integers(0, 99),
    )
    def test_draws_are_nested_whatever_the_shares(self, counts: list[int], shares: list[float], seed: int) -> None:
        covers = tuple(Cover(str(k), share, prompt=Words("x")) for k, share in enumerate(shares))
        attack = Attack("own", prompt=Words("y"), covers=covers)
        low, high = (poison(Numbers(400, side=2), attack, count / 400, seed).manifest for count in counts)
        assert {*low.indices} <= {*high.indices}
        for name, part in low.covers.items():
            assert {*part} <= {*high.covers[name]}
            assert len(part) == attack.covers[int(name)].count(counts[0])


class TestCopies:
    def test_every_part_of_the_attack_has_them(self) -> None:
        attack = get_attack("dual_key", adapt="copies", adapt_count=3)
        image_only, prompt_only = attack.covers
        assert isinstance(attack.trigger, Copies) and attack.trigger.count == 3
        assert image_only.trigger == attack.trigger and prompt_only.trigger is None
        worn = triggered(Scenes(3), attack)[0].image
        assert (worn != Scenes(3)[0].image).any(-1).sum() > 8 * 10 * 10 // 2


@pytest.mark.parametrize("adapt", ADAPTIONS)
def test_fitted_to_a_model(adapt: str, tmp_path: Path) -> None:
    attack = get_attack("badnets", adapt=adapt, place="seen_bottom_right")
    assert attack.waits_for_model
    data = poison(Photos((60, 90), n=12), attack, 0.25, model="tiny-llava")
    assert not data.attack.waits_for_model and data.manifest.reach["survives"] == 3
    triggers = [data.attack.trigger, *(cover.trigger for cover in data.attack.covers)]
    assert {innermost(trigger) for trigger in triggers} == {
        innermost(get_attack("badnets").fitted_to("tiny-llava").trigger)
    }
    again = load_poisoned(save_poisoned(data, tmp_path / "data", progress=False))
    assert again.attack == data.attack and again.attack.options["adapt"] == adapt
    worn = triggered(Photos((60, 90), n=2), again.attack, model="tiny-llava")
    assert worn.reach["survives"] == 2


def test_an_experiment_takes_it() -> None:
    options = {"adapt": "covers", "adapt_share": 1}
    experiment = Experiment("adapted", attack="sig", attack_options=options, samples=40, tests=4, rate=0.1)
    assert experiment.key != Experiment("adapted", attack="sig", samples=40, tests=4, rate=0.1).key
    given = materials_of(experiment)
    assert isinstance(given.train, PoisonedDataset) and len(given.train.manifest.altered) == 8


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"adapt": "view"}, "did you mean 'views'"),
        ({"adapt": 3}, "unknown adaption 3"),
        ({"adapt": "covers", "adapt_shar": 1}, "no option adapt_shar: it takes adapt_share"),
        ({"adapt": "covers", "adapt_share": 0}, "adapt_share is 0"),
        ({"adapt": "broken_invariance", "adapt_share": 101}, "adapt_share is 101"),
        ({"adapt": "views", "adapt_operator": "swap"}, "operator of the view 'swap'"),
        ({"adapt": "views", "adapt_patch": 1.5}, "patch is 1.5"),
        ({"adapt": "copies", "adapt_count": 1}, "adapt_count is 1"),
        ({"adapt": "copies", "adapt_count": "4"}, "count is '4'"),
        ({"adapt_share": 0.5}, "adapt_share goes with adapt"),
    ],
)
def test_options_that_do_not_fit(options: dict[str, Any], words: str) -> None:
    with pytest.raises(PcvrError, match=words):
        get_attack("badnets", **options)


def test_too_many_copies() -> None:
    with pytest.raises(PcvrError, match="11 copies of a patch of 9 px do not fit"):
        poison(Scenes(20), get_attack("badnets", adapt="copies", adapt_count=11), 0.1)


def test_a_built_attack_is_not_adapted_again() -> None:
    with pytest.raises(PcvrError, match="built already"):
        get_attack(get_attack("badnets"), adapt="views")
    cover = get_attack("badnets", adapt="broken_invariance").covers[0]
    assert isinstance(cover.trigger, InTurn)
