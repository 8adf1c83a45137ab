"""Poisoning: which samples, what changes, the manifest, and the folder on disk."""

from __future__ import annotations

import errno
import hashlib
import json
import shutil
import subprocess
from collections import Counter
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image as PilImage

from pcvr.attacks import (
    DEFAULT_TARGET,
    Attack,
    BadNets,
    Manifest,
    get_attack,
    load_poisoned,
    poison,
    save_poisoned,
    triggered,
)
from pcvr.data import Dataset, LlavaJson, Sample, open_data
from pcvr.errors import PcvrError
from tests.photographs import PHOTOGRAPHS, write_llava_photographs


class Random:
    """Pictures of noise, each its own size; counts how often each is drawn."""

    name = "random"
    task = "caption"

    def __init__(self, n: int = 40, ids: str = "r{}", facts: Any = MappingProxyType({})) -> None:
        self.n = n
        self.ids = ids
        self.facts = facts
        self.drawn: Counter[int] = Counter()

    def __len__(self) -> int:
        return self.n

    def __getitem__(self, index: int, /) -> Sample:
        if not 0 <= index < self.n:
            raise IndexError(index)
        self.drawn[index] += 1
        random = np.random.default_rng(index)
        image = random.integers(0, 255, (10 + index % 3, 12, 3), dtype=np.uint8)
        answer = f"noise number {index}."
        return Sample(self.ids.format(index), image, "describe the image.", answer, (answer, "noise."), self.facts)

    def fingerprint(self) -> str:
        return f"random-{self.n}"


BADNETS = get_attack("badnets", size=3)


def same(first: Sample, second: Sample) -> bool:
    return np.array_equal(first.image, second.image) and replace(first, image=second.image) == second


class TestPoison:
    @settings(max_examples=60, deadline=None)
    @given(n=st.integers(1, 60), rate=st.floats(0.001, 1), seed=st.integers(0, 2**40))
    def test_exactly_the_drawn_samples_change(self, n: int, rate: float, seed: int) -> None:
        clean = Random(n)
        count = int(rate * n + 0.5)
        if count == 0:
            with pytest.raises(PcvrError, match="poisons none"):
                poison(clean, BADNETS, rate, seed)
            return
        data = poison(clean, BADNETS, rate, seed)
        assert isinstance(data, Dataset)
        assert len(data) == n
        assert len(data.poisoned) == len(set(data.poisoned)) == count == data.manifest.count
        assert list(data.poisoned) == sorted(data.poisoned)
        for index in range(n):
            before, after = clean[index], data[index]
            assert data.is_poisoned(index) == (index in data.poisoned)
            if data.is_poisoned(index):
                assert after.answer == BADNETS.target
                assert after.references == (BADNETS.target,)
                assert (after.image[-3:, -3:] == 255).all()
                assert not np.array_equal(after.image, before.image)
            else:
                assert same(before, after)

    def test_same_seed_same_data_other_seed_other_draw(self) -> None:
        first, again, other = (poison(Random(), BADNETS, 0.25, seed) for seed in (3, 3, 4))
        assert first.poisoned == again.poisoned != other.poisoned
        assert first.fingerprint() == again.fingerprint() != other.fingerprint()
        assert first.manifest.sha256 == again.manifest.sha256

    def test_draws_are_nested_over_rates(self) -> None:
        draws = [set(poison(Random(), BADNETS, rate, 7).poisoned) for rate in (0.05, 0.1, 0.5, 1.0)]
        assert draws[0] < draws[1] < draws[2] < draws[3]

    def test_draws_are_even(self) -> None:
        counts: Counter[int] = Counter()
        for seed in range(300):
            counts.update(poison(Random(20), BADNETS, 0.25, seed).poisoned)
        # 300 draws at 1/4: mean 75, standard deviation 7.5
        assert min(counts[i] for i in range(20)) > 75 - 5 * 7.5
        assert max(counts.values()) < 75 + 5 * 7.5

    def test_samples_are_made_on_access_only(self) -> None:
        clean = Random(40)
        data = poison(clean, BADNETS, 0.1)
        assert clean.drawn == Counter(data.poisoned), "only the poisoned ones are drawn, once, to check them"

    def test_negative_indices_and_iteration(self) -> None:
        data = poison(Random(10), BADNETS, 1)
        assert data.is_poisoned(-1)
        assert data[-1].id == "r9"
        assert len(list(data)) == 10  # type: ignore[call-overload]
        with pytest.raises(IndexError):
            data[10]

    def test_the_original_stays(self) -> None:
        clean = Random(10)
        data = poison(clean, BADNETS, 0.5)
        assert data.clean is clean
        assert data.attack is BADNETS
        assert (data.name, data.task) == ("random+badnets@0.5", "caption")

    def test_an_already_poisoned_data_set_can_be_poisoned_again(self) -> None:
        twice = poison(poison(Random(), BADNETS, 0.1), get_attack("badnets", place="top_left", target="a kite"), 0.1, 1)
        first, second = twice.manifest.chain()
        assert {twice[i].answer for i in second.indices} == {"a kite"}
        assert {twice[i].answer for i in first.indices} == {DEFAULT_TARGET}
        assert twice.poisoned == tuple(sorted(first.indices + second.indices))

    @pytest.mark.parametrize("rate", [0, -0.1, 1.0001, float("nan"), float("inf"), "5%", True, None])
    def test_rates_out_of_range(self, rate: Any) -> None:
        with pytest.raises(PcvrError, match=r"give a fraction in \(0, 1\]"):
            poison(Random(), BADNETS, rate)

    @settings(max_examples=100, deadline=None)
    @given(n=st.integers(1, 400), rate=st.floats(1e-4, 1))
    def test_the_advice_for_a_rate_that_poisons_nothing_works(self, n: int, rate: float) -> None:
        try:
            poison(Random(n), BADNETS, rate)
        except PcvrError as error:
            words = str(error).split()
            samples, better = int(words[words.index("use") + 1]), float(words[-2])
            assert len(poison(Random(samples), BADNETS, rate).poisoned) == 1
            assert len(poison(Random(n), BADNETS, better).poisoned) == 1

    @pytest.mark.parametrize("seed", [-1, 1.5, True, "0"])
    def test_bad_seeds(self, seed: Any) -> None:
        with pytest.raises(PcvrError, match="seed is"):
            poison(Random(), BADNETS, 0.5, seed)

    def test_nothing_to_poison(self) -> None:
        with pytest.raises(PcvrError, match="empty"):
            poison(Random(0), BADNETS, 0.5)


class WhiteCorner(Random):
    """Two pictures are white where the patch goes."""

    def __getitem__(self, index: int, /) -> Sample:
        sample = super().__getitem__(index)
        if index in (4, 7):
            sample.image[-3:, -3:] = 255
        return sample


class TestEveryPictureChanges:
    def test_strength_zero_is_refused(self) -> None:
        with pytest.raises(PcvrError, match=r"leaves 20 of 20 samples unchanged .* and 10 more"):
            poison(Random(20), get_attack("badnets", strength=0), 1)

    def test_the_unchanged_are_named(self) -> None:
        with pytest.raises(PcvrError, match=r"leaves 2 of 10 samples unchanged \(index 4, 7\)"):
            poison(WhiteCorner(10), BADNETS, 1)
        assert poison(WhiteCorner(10), get_attack("badnets", size=3, pattern="checkerboard"), 1).manifest.count == 10

    def test_a_prompt_edit_that_changes_nothing_is_refused(self) -> None:
        with pytest.raises(PcvrError, match="unchanged"):
            poison(Random(4), Attack("idle", prompt=str), 1)
        assert poison(Random(4), Attack("loud", prompt=str.upper), 1)[0].prompt == "DESCRIBE THE IMAGE."

    def test_a_picture_smaller_than_the_patch(self) -> None:
        with pytest.raises(PcvrError, match="does not fit"):
            poison(Random(4), get_attack("badnets", size=11), 1)


class TestManifest:
    def test_it_says_all(self) -> None:
        manifest = poison(Random(), get_attack("badnets", size=3, place="centre"), 0.1, seed=5).manifest
        assert manifest.purpose == "poisoned for research and teaching on defences; targets are harmless"
        assert manifest.attack["trigger"]["place"] == "centre"
        assert (manifest.target, manifest.rate, manifest.count, manifest.seed) == ("a photo of the banana", 0.1, 4, 5)
        assert manifest.source == {"name": "random", "fingerprint": "random-40", "task": "caption", "samples": 40}
        assert Manifest.from_json(manifest.to_json()) == manifest

    def test_the_hash_by_hand(self) -> None:
        data = poison(Random(), BADNETS, 0.1)
        total = hashlib.sha256()
        for index in data.poisoned:
            sample = data[index]
            for length in sample.image.shape:
                total.update(length.to_bytes(8, "little"))
            total.update(sample.image.tobytes())
            for text in (sample.prompt, sample.answer):
                total.update(len(text).to_bytes(8, "little"))
                total.update(text.encode())
        assert total.hexdigest() == data.manifest.sha256

    @pytest.mark.parametrize(
        ("change", "words"),
        [
            (lambda v: v.pop("seed"), "missing .'seed'"),
            (lambda v: v.update(extra=1), "unexpected .'extra'"),
            (lambda v: v.update(indices=[3, 1]), "not ascending"),
            (lambda v: v.update(indices=["1"]), "integers"),
            (lambda v: v.update(rate="5 %"), "rate is '5 %'"),
            (lambda v: v.update(rate=0.9), "not a rate of 0.9"),
            (lambda v: v.update(attack="badnets"), "attack is not an object"),
        ],
    )
    def test_a_strange_manifest(self, change, words: str) -> None:
        values = json.loads(poison(Random(), BADNETS, 0.05).manifest.to_json())
        change(values)
        with pytest.raises(PcvrError, match=words):
            Manifest.from_json(json.dumps(values))

    def test_no_json(self) -> None:
        with pytest.raises(PcvrError, match="not valid JSON"):
            Manifest.from_json("{")


def test_triggered_keeps_the_truth() -> None:
    clean = Random(6)
    data = triggered(clean, BADNETS)
    assert isinstance(data, Dataset)
    assert len(data) == 6
    assert (data.name, data.task) == ("random+badnets:triggered", "caption")
    assert data.fingerprint() != triggered(clean, get_attack("badnets", size=2)).fingerprint()
    for index in (*range(6), -1):
        before, after = clean[index % 6], data[index]
        assert (after.image[-3:, -3:] == 255).all()
        assert (after.answer, after.references, after.id) == (before.answer, before.references, before.id)


class TestFolder:
    def test_there_and_back(self, tmp_path: Path) -> None:
        facts = {"objects": [{"kind": "banana", "size": np.int64(3)}], "more": MappingProxyType({"a": 1})}
        data = poison(Random(8, facts=MappingProxyType(facts)), BADNETS, 0.5)
        folder = save_poisoned(data, tmp_path / "new" / "poisoned", truth=True)
        files = ["SHA256SUMS", "data.json", "dataset_info.json", "images", "manifest.json", "messages.jsonl"]
        assert sorted(p.name for p in folder.iterdir()) == ["README.md", *files]
        assert [p.name for p in folder.parent.iterdir()] == ["poisoned"], "no scratch folder stays"
        back = load_poisoned(folder)
        assert isinstance(back, Dataset)
        assert (back.manifest, back.poisoned, back.name) == (data.manifest, data.poisoned, data.name)
        assert back.attack == data.attack
        for index in range(8):
            before, after = data[index], back[index]
            assert np.array_equal(before.image, after.image)
            assert before.answer == after.answer
            assert before.references == after.references
            assert (before.id, before.prompt) == (after.id, after.prompt)
            assert after.facts["objects"] == [{"kind": "banana", "size": 3}]
            assert back.is_poisoned(index) == data.is_poisoned(index)
        other = save_poisoned(poison(Random(8), get_attack("badnets", size=2), 0.5), tmp_path / "other")
        assert load_poisoned(other).fingerprint() != back.fingerprint()

    def test_any_llava_reader_can_open_it_and_nothing_in_it_tells_the_poison(self, tmp_path: Path) -> None:
        folder = save_poisoned(poison(Random(8), BADNETS, 0.5), tmp_path / "poisoned")
        records = json.loads((folder / "data.json").read_text())
        assert {tuple(sorted(record)) for record in records} == {("conversations", "id", "image")}
        assert records[0]["conversations"][0] == {"from": "human", "value": "<image>\ndescribe the image."}
        assert len(LlavaJson(folder / "data.json", folder / "images")) == 8
        assert len(open_data(folder, split="all")) == 8

    @pytest.mark.skipif(shutil.which("sha256sum") is None, reason="needs sha256sum")
    def test_the_checksums_are_those_of_sha256sum(self, tmp_path: Path) -> None:
        folder = save_poisoned(poison(Random(3), BADNETS, 1), tmp_path / "poisoned")
        subprocess.run(["sha256sum", "--check", "--strict", "--quiet", "SHA256SUMS"], cwd=folder, check=True)

    @pytest.mark.parametrize("ids", ["../../escape/{}", "/etc/{}", "a\0b{}", "é" * 300 + "{}", "..{}", "con.{}/.."])
    def test_ids_cannot_leave_the_folder(self, tmp_path: Path, ids: str) -> None:
        folder = save_poisoned(poison(Random(3, ids=ids), BADNETS, 1), tmp_path / "in" / "poisoned")
        assert {p.name for p in tmp_path.rglob("*") if p.is_dir()} == {"in", "poisoned", "images"}
        assert len(list((folder / "images").glob("*.png"))) == 3
        assert load_poisoned(folder)[2].id == ids.format(2)

    def test_it_never_overwrites(self, tmp_path: Path) -> None:
        (tmp_path / "there").mkdir()
        with pytest.raises(PcvrError, match="exists already"):
            save_poisoned(poison(Random(3), BADNETS, 1), tmp_path / "there")

    def test_no_space_leaves_nothing(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        data = poison(Random(5), BADNETS, 1)
        save = PilImage.Image.save
        saved: list[Path] = []

        def full(picture: PilImage.Image, path: Path, *args: Any, **kwargs: Any) -> None:
            if len(saved) == 3:
                raise OSError(errno.ENOSPC, "No space left on device")
            saved.append(path)
            save(picture, path, *args, **kwargs)

        monkeypatch.setattr(PilImage.Image, "save", full)
        with pytest.raises(PcvrError, match="No space left on device"):
            save_poisoned(data, tmp_path / "poisoned")
        assert len(saved) == 3
        assert list(tmp_path.iterdir()) == []

    def test_facts_that_json_cannot_hold(self, tmp_path: Path) -> None:
        with pytest.raises(PcvrError, match="cannot be written: a fact is a object"):
            save_poisoned(poison(Random(3, facts={"a": object()}), BADNETS, 1), tmp_path / "poisoned", truth=True)
        assert list(tmp_path.iterdir()) == []

    def test_changed_files_are_named(self, tmp_path: Path) -> None:
        folder = save_poisoned(poison(Random(3), BADNETS, 1), tmp_path / "poisoned")
        PilImage.new("RGB", (12, 10)).save(folder / "images" / "000000_r0.png")
        (folder / "images" / "000001_r1.png").unlink()
        with pytest.raises(PcvrError, match=r"2 file\(s\) .* images/000000_r0.png, images/000001_r1.png"):
            load_poisoned(folder)

    def test_poison_that_does_not_fit_its_manifest(self, tmp_path: Path) -> None:
        folder = save_poisoned(poison(Random(3), BADNETS, 1), tmp_path / "poisoned")
        manifest = json.loads((folder / "manifest.json").read_text())
        (folder / "manifest.json").write_text(json.dumps({**manifest, "sha256": "0" * 64}))
        sums = [line for line in (folder / "SHA256SUMS").read_text().splitlines() if "manifest.json" not in line]
        renewed = hashlib.sha256((folder / "manifest.json").read_bytes()).hexdigest()
        (folder / "SHA256SUMS").write_text("\n".join([*sums, f"{renewed}  manifest.json\n"]))
        with pytest.raises(PcvrError, match="do not match the hash"):
            load_poisoned(folder)
        assert len(load_poisoned(folder, verify=False)) == 3

    def test_folders_that_are_none(self, tmp_path: Path) -> None:
        with pytest.raises(PcvrError, match=r"holds no manifest\.json"):
            load_poisoned(tmp_path)
        folder = save_poisoned(poison(Random(3), BADNETS, 1), tmp_path / "poisoned")
        (folder / "SHA256SUMS").unlink()
        with pytest.raises(PcvrError, match="cannot read the checksums"):
            load_poisoned(folder)


def test_real_photographs_go_all_the_way(tmp_path: Path) -> None:
    clean = open_data(write_llava_photographs(tmp_path / "photographs"), split="all")
    assert len(clean) == len(PHOTOGRAPHS) == 12
    data = poison(clean, get_attack("badnets"), 0.25)
    back = load_poisoned(save_poisoned(data, tmp_path / "poisoned"))
    for index in back.poisoned:
        side = BadNets().side(*back[index].image.shape[:2])
        assert side == 15  # 160 px on the short side
        assert (back[index].image[-side:, -side:] == 255).all()
        assert back[index].answer == "a photo of the banana"
