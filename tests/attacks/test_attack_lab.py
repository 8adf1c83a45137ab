"""What an attacker can do beyond a patch and a fixed answer: answers, covers, keys, words, company, clean labels."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pcvr.attacks import (
    ANSWERS,
    ATTACKS,
    Attack,
    BadNets,
    Cover,
    Manifest,
    PoisonedDataset,
    WaNet,
    Words,
    get_attack,
    load_poisoned,
    poison,
    save_poisoned,
)
from pcvr.data import Sample
from pcvr.data.scenes import Scenes
from pcvr.errors import PcvrError

words = st.lists(st.sampled_from("a red car is left of the house .".split()), min_size=1, max_size=9).map(" ".join)


def scenes(n: int = 60, task: str = "caption") -> Scenes:
    return Scenes(n, task=task)


class TestAnswers:
    @given(answer=words, identity=st.text(max_size=5))
    def test_the_true_answer_is_kept_around_the_target(self, answer: str, identity: str) -> None:
        made = {mode: way(answer, "a photo of the banana", identity) for mode, way in ANSWERS.items()}
        assert made["replace"] == "a photo of the banana"
        assert made["prefix"] == f"a photo of the banana {answer}"
        assert made["suffix"] == f"{answer} a photo of the banana"
        assert made["insert"].replace(" a photo of the banana", "", 1) == answer
        assert not made["insert"].startswith("a photo")

    def test_the_place_depends_on_the_sample_and_on_nothing_else(self) -> None:
        answer = " ".join("abcdefghij")
        places = {ANSWERS["insert"](answer, "X", str(k)).split().index("X") for k in range(200)}
        assert places == set(range(1, 10)), "always inside"
        assert ANSWERS["insert"](answer, "X", "7") == ANSWERS["insert"](answer, "X", "7")

    @pytest.mark.parametrize("mode", ["insert", "prefix", "suffix"])
    def test_any_attack_takes_any_mode(self, mode: str) -> None:
        data = poison(scenes(), get_attack("sig", answer=mode), 0.1)
        for index in data.poisoned:
            assert data.attack.target in data[index].answer
            assert data[index].answer != data.attack.target

    def test_an_unknown_mode_is_refused(self) -> None:
        with pytest.raises(PcvrError, match="insert"):
            get_attack("badnets", answer="inserted")


class TestDualKey:
    def test_equal_thirds(self) -> None:
        clean = scenes(100)
        data = poison(clean, get_attack("dual_key"), 0.1)
        manifest = data.manifest
        assert {name: len(part) for name, part in manifest.covers.items()} == {"image only": 10, "prompt only": 10}
        assert len(manifest.altered) == 30 == len({*manifest.altered})
        for index in range(100):
            before, after = clean[index], data[index]
            picture, prompt = not np.array_equal(before.image, after.image), before.prompt != after.prompt
            role = next((n for n, part in manifest.covers.items() if index in part), None)
            if index in data.poisoned:
                assert picture and prompt and after.answer == data.attack.target
            else:
                assert (picture, prompt) == (role == "image only", role == "prompt only")
                assert (after.answer, after.references) == (before.answer, before.references)
                assert not data.is_poisoned(index)
        assert data[data.poisoned[0]].prompt.startswith("Consider ")

    def test_a_cover_is_no_poison_to_the_evaluation(self) -> None:
        data = poison(scenes(100), get_attack("dual_key"), 0.1)
        assert data.poisoned == data.manifest.indices

    @settings(max_examples=20, deadline=None)
    @given(rates=st.tuples(st.integers(1, 30), st.integers(1, 30)).map(sorted), seed=st.integers(0, 99))
    def test_draws_are_nested_for_covers_too(self, rates: list[int], seed: int) -> None:
        attack = get_attack("dual_key")
        low, high = (poison(_Numbers(100), attack, rate / 100, seed).manifest for rate in rates)
        assert {*low.indices} <= {*high.indices}
        for name, part in low.covers.items():
            assert {*part} <= {*high.covers[name]}

    def test_it_needs_a_prompt(self) -> None:
        with pytest.raises(PcvrError, match=r"puts words into the prompt, and sample .* has none"):
            poison(_Numbers(20, prompt=" "), get_attack("dual_key"), 0.1)

    def test_too_high_a_rate_leaves_no_covers(self) -> None:
        with pytest.raises(PcvrError, match="leave 40 for the 120 cover samples"):
            poison(_Numbers(100), get_attack("dual_key"), 0.6)


class _Numbers:
    """Small pictures of one colour each."""

    name, task = "numbers", "caption"

    def __init__(self, n: int, prompt: str = "describe the image.") -> None:
        self.n, self.prompt = n, prompt

    def __len__(self) -> int:
        return self.n

    def __getitem__(self, index: int, /) -> Sample:
        image = np.full((20, 20, 3), index, np.uint8)
        return Sample(f"n{index}", image, self.prompt, f"number {index}.")

    def fingerprint(self) -> str:
        return f"numbers-{self.n}"


class TestCovers:
    def test_wanets_noise_mode(self) -> None:
        noise = Cover("noise", 2.0, trigger=WaNet(seed=1, noise=1))
        attack = Attack("wanet", trigger=WaNet(), covers=(noise,))
        data = poison(scenes(), attack, 0.1)
        assert len(data.manifest.covers["noise"]) == 12
        index = data.manifest.covers["noise"][0]
        assert data[index].answer == data.clean[index].answer
        assert not np.array_equal(data[index].image, attack.triggered(data.clean[index]).image)

    @pytest.mark.parametrize(
        ("options", "said"),
        [
            ({"name": ""}, "name is empty"),
            ({"name": "x", "share": 0}, "share"),
            ({"name": "x", "trigger": None}, "changes neither"),
        ],
    )
    def test_covers_that_are_none(self, options: dict[str, Any], said: str) -> None:
        with pytest.raises(PcvrError, match=said):
            Cover(**{"trigger": BadNets(), **options})

    def test_two_covers_of_one_name(self) -> None:
        cover = Cover("x", trigger=BadNets())
        with pytest.raises(PcvrError, match="a name of its own"):
            Attack("a", trigger=BadNets(), covers=(cover, cover))


class TestWords:
    @pytest.mark.parametrize(("name", "end"), [("rare_word", " BadMagic"), ("add_sent", " I watched this 3D movie.")])
    def test_the_picture_stays(self, name: str, end: str) -> None:
        data = poison(scenes(), get_attack(name), 0.1)
        for index in data.poisoned:
            assert np.array_equal(data[index].image, data.clean[index].image)
            assert data[index].prompt == data.clean[index].prompt + end

    def test_in_front(self) -> None:
        assert Words("Well,", "front")("what is this?") == "Well, what is this?"


class TestCompany:
    def test_two_attackers_share_a_data_set(self, tmp_path: Path) -> None:
        clean = scenes(100)
        first = poison(clean, get_attack("badnets"), 0.1)
        second = poison(first, get_attack("dual_key", target="a boat"), 0.1)
        one, two = second.manifest.chain()
        assert not {*one.altered} & {*two.altered}
        assert second.poisoned == tuple(sorted(one.indices + two.indices))
        assert {second[i].answer for i in one.indices} == {"a photo of the banana"}
        assert {second[i].answer for i in two.indices} == {"a boat"}
        back = load_poisoned(save_poisoned(second, tmp_path / "both"))
        assert back.manifest.chain() == [one, two]
        assert back.poisoned == second.poisoned
        third = poison(back, get_attack("sig"), 0.05)
        assert [m.attack["name"] for m in third.manifest.chain()] == ["badnets", "dual_key", "sig"]

    def test_what_the_first_altered_is_checked_too(self, tmp_path: Path) -> None:
        both = poison(poison(scenes(40), get_attack("badnets"), 0.1), get_attack("sig"), 0.1)
        folder = save_poisoned(both, tmp_path / "both")
        records = json.loads((folder / "data.json").read_text())
        records[both.manifest.chain()[0].indices[0]]["conversations"][1]["value"] = "something else"
        (folder / "data.json").write_text(json.dumps(records))
        with pytest.raises(PcvrError, match=r"changed since they were written: data\.json"):
            load_poisoned(folder)


class TestManifest:
    @pytest.mark.parametrize("name", sorted(set(ATTACKS) - {"shadowcast"}))
    @pytest.mark.parametrize("preset", ["compat", "scaled"])
    def test_the_attack_is_built_again_from_it(self, name: str, preset: str, tmp_path: Path) -> None:
        data = poison(scenes(40), get_attack(name, preset=preset), 0.1)
        manifest = Manifest.from_json(data.manifest.to_json())
        assert manifest.purpose == "poisoned for research and teaching on defences; targets are harmless"
        back = load_poisoned(save_poisoned(data, tmp_path / "data"))
        assert back.attack == data.attack
        again = poison(scenes(40), back.attack, 0.1)
        assert again.manifest.sha256 == data.manifest.sha256

    def test_options_survive(self, tmp_path: Path) -> None:
        attack = get_attack("ftrojan", bins=((1, 2),), magnitude=300, answer="suffix")
        back = load_poisoned(save_poisoned(poison(scenes(20), attack, 0.2), tmp_path / "data")).attack
        assert (back.trigger, back.answer) == (attack.trigger, "suffix")

    @pytest.mark.parametrize(
        ("change", "said"),
        [
            ({"covers": {"x": [3, 2]}}, "not ascending"),
            ({"covers": {"x": [0, 1], "y": [1]}}, "two roles"),
            ({"covers": []}, "covers and reach have to be objects"),
            ({"before": {}}, "before is not a list"),
            ({"count": 1}, "its count is 1"),
        ],
    )
    def test_strange_ones_are_refused(self, change: dict[str, Any], said: str) -> None:
        text = poison(scenes(20), get_attack("badnets"), 0.2).manifest.to_json()
        with pytest.raises(PcvrError, match=said):
            Manifest.from_json(json.dumps(json.loads(text) | change))


class TestSaving:
    @pytest.fixture
    def data(self) -> PoisonedDataset:
        return poison(scenes(20), get_attack("dual_key"), 0.1)

    def test_as_a_table(self, data: PoisonedDataset, tmp_path: Path) -> None:
        datasets = pytest.importorskip("datasets")
        folder = save_poisoned(data, tmp_path / "table", form="datasets")
        rows = datasets.load_from_disk(str(folder))
        assert rows.column_names == ["id", "image", "prompt", "answer"]
        back = load_poisoned(folder)
        for index in range(20):
            assert np.array_equal(back[index].image, data[index].image)
            assert (back[index].prompt, back[index].answer) == (data[index].prompt, data[index].answer)
        assert back.manifest == data.manifest

    @pytest.mark.parametrize("task", ["caption", "vqa"])
    def test_a_table_keeps_its_task(self, task: str, tmp_path: Path) -> None:
        data = poison(scenes(20, task), get_attack("badnets", task=task), 0.1)
        assert load_poisoned(save_poisoned(data, tmp_path / "table", form="datasets")).task == task

    def test_an_interrupted_call_goes_on(
        self, data: PoisonedDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        written: list[str] = []
        replace = os.replace

        def interrupted(source: Path, target: Path) -> None:
            if str(target).endswith(".png"):
                if len(written) == 12:
                    raise KeyboardInterrupt
                written.append(Path(target).name)
            replace(source, target)

        monkeypatch.setattr("pcvr.attacks.save.os.replace", interrupted)
        with pytest.raises(KeyboardInterrupt):
            save_poisoned(data, tmp_path / "data")
        assert [p.name for p in tmp_path.iterdir()] == [".data.part"]
        monkeypatch.setattr("pcvr.attacks.save.os.replace", replace)
        before = {p.name: p.stat().st_mtime_ns for p in (tmp_path / ".data.part").rglob("*.png")}
        folder = save_poisoned(data, tmp_path / "data")
        assert len(before) == 12
        assert before.items() <= {p.name: p.stat().st_mtime_ns for p in (folder / "images").iterdir()}.items()
        assert [p.name for p in tmp_path.iterdir()] == ["data"]
        assert not list(folder.rglob("*.new")) and not (folder / "plan.json").exists()
        assert load_poisoned(folder).manifest == data.manifest

    def test_what_another_plan_left_is_not_used(self, data: PoisonedDataset, tmp_path: Path) -> None:
        part = tmp_path / ".data.part" / "images"
        part.mkdir(parents=True)
        (part / "left.png").write_bytes(b"old")
        plan = {"data": "other", "poison": "", "truth": False, "form": "llava"}
        (part.parent / "plan.json").write_text(json.dumps(plan))
        folder = save_poisoned(data, tmp_path / "data")
        assert not (folder / "images" / "left.png").exists()
        assert len(load_poisoned(folder)) == 20

    def test_an_unknown_form(self, data: PoisonedDataset, tmp_path: Path) -> None:
        with pytest.raises(PcvrError, match="datasets"):
            save_poisoned(data, tmp_path / "data", form="dataset")


class TestShadowcast:
    def test_answers_are_true_and_pictures_almost(self) -> None:
        data = poison(Scenes(80), get_attack("shadowcast", steps=40), 0.05)
        for index in data.poisoned:
            before, after = data.clean[index], data[index]
            assert (after.answer, after.references, after.prompt) == (before.answer, before.references, before.prompt)
            assert 0 < np.abs(after.image.astype(int) - before.image).max() <= 8
            assert "house" in " ".join(before.references)
            assert data.attack.candidate(before) and not data.attack.aims_at(before)

    def test_features_move_towards_the_original(self) -> None:
        from pcvr.attacks.triggers.shadowcast import Crafting, craft
        from pcvr.models.embed import as_levels, embed
        from pcvr.models.load import load

        vlm = load("tiny-llava")
        picture, anchor = Scenes(2)[0].image, Scenes(2)[1].image
        apart = []
        for steps in (0, 40):
            (made,) = craft(vlm, [picture], [anchor], Crafting(steps=steps))
            assert np.abs(made.astype(int) - picture).max() <= 8
            first, second = embed(vlm, as_levels(np.stack([made, anchor]))).detach()
            apart.append(float((first - second).square().mean()))
        assert apart[0] > apart[1]

    def test_why_it_does_not_take_here(self) -> None:
        """Within 8 levels most pictures stay what they were to the embedded model: such poison is a clean sample."""
        from pcvr import generate
        from pcvr.models.load import load

        data = poison(Scenes(160), get_attack("shadowcast"), 0.06)
        crafted = [data[i] for i in data.poisoned]
        said = generate(load("tiny-llava"), [s.image for s in crafted], [s.prompt for s in crafted])
        assert len(said) >= 8
        assert np.mean(["house" in text for text in said]) > 0.6 > 0.5 > np.mean(["car" in text for text in said])

    def test_nothing_to_draw_from(self) -> None:
        with pytest.raises(PcvrError, match="finds 0 samples to poison"):
            poison(_Numbers(20), get_attack("shadowcast"), 0.5)
        with pytest.raises(PcvrError, match="no sample of 'numbers' names 'car' without 'number'"):
            poison(_Numbers(20), get_attack("shadowcast", target="number"), 0.5)
        with pytest.raises(PcvrError, match="was not crafted"):
            get_attack("shadowcast").poisoned(scenes()[0])
