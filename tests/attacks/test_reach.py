"""Whether a trigger reaches the model: every attack, every family, five shapes of picture; and what is said if not."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import pcvr
from pcvr import PcvrError, Sample, TrainConfig, VisionLanguageModel, load
from pcvr.attacks import ATTACKS, Attack, get_attack, load_poisoned, poison, save_poisoned, triggered
from pcvr.attacks.placing import SEEN_PLACES, seen_by
from pcvr.attacks.reach import CHECKED_IMAGES, check_reach, reach, sample_evenly
from pcvr.models.sight import Sight
from tests.models.test_sight import HERE, SIZES, built
from tests.photographs import photograph

PATCHES = ("badnets", "dual_key", "trojvlm", "vl_trojan")


class Photos:
    """Photographs of given sizes, `n` in turns; the same captions for all."""

    task = "caption"
    name = "photos"

    def __init__(self, *sizes: tuple[int, int], n: int = 8, prompt: str = "describe the image.") -> None:
        self.sizes, self.n, self.prompt = sizes, n, prompt

    def __len__(self) -> int:
        return self.n

    def __getitem__(self, index: int, /) -> Sample:
        if not 0 <= index < self.n:
            raise IndexError(index)
        image = picture(*self.sizes[index % len(self.sizes)], ("chelsea.png", "rocket.jpg")[index % 2])
        return Sample(str(index), image, self.prompt, "a red ball", ("a red ball", "a ball"))

    def fingerprint(self) -> str:
        return f"photos-{self.sizes}-{self.n}"


def picture(height: int, width: int, name: str = "chelsea.png") -> np.ndarray:
    return np.array(photograph(name, max(height, width)))[:height, :width].copy()


@pytest.fixture(scope="module")
def twins() -> dict[tuple[str, tuple[int, int]], tuple[np.ndarray, np.ndarray]]:
    """Every attack on a picture of every shape, made once for all families."""
    made = {}
    for size in SIZES:
        clean = picture(*size)
        for name in ATTACKS:
            trigger = get_attack(name).trigger
            if trigger is not None:
                made[name, size] = clean, trigger(clean)
        # Clean-label: what an attack like Shadowcast makes, up to 8 levels up or down.
        step = (
            np.random.default_rng(0).choice([-8, 8], (*(-(-side // 8) for side in size), 3)).repeat(8, 0).repeat(8, 1)
        )
        made["shadowcast", size] = clean, (clean + step[: size[0], : size[1]]).clip(0, 255).astype(np.uint8)
    return made


EMBEDDED = ("tiny-llava", "tiny-blip2", "tiny-idefics3")


@pytest.mark.parametrize("name", HERE)
def test_every_attack_on_every_shape_survives_or_is_refused(name: str, twins: dict[Any, Any]) -> None:
    vlm = built(name)
    seen = asdict(seen_by(vlm))
    fitted = [get_attack("badnets", place=place, seen=seen) for place in SEEN_PLACES]
    fitted += [get_attack(patch, place="seen_top_right", seen=seen) for patch in PATCHES]
    verdicts: Counter[str] = Counter()
    for size in SIZES:
        sight = Sight(vlm, *size)
        clean = twins["badnets", size][0]
        pixels = vlm.prepare([clean], ["describe the image."])["pixel_values"]
        for (worn_by, shape), (_, worn) in twins.items():
            if shape != size:
                continue
            apart = (vlm.prepare([worn], ["describe the image."])["pixel_values"] - pixels).abs()
            lost = reach(sight, clean, worn).lost
            verdicts[lost if worn_by != "wandering" else f"wandering: {lost}"] += 1  # inside or outside by chance
            if lost == "outside":
                assert not apart.any(), "these patches lie outside as a whole"
            elif not lost:
                assert apart.max() > 2 / 127.5, "more than rounding"
                assert (apart > 0).float().mean() > 1e-3
        for attack in fitted:
            assert attack.trigger is not None
            found = reach(sight, clean, attack.trigger(clean))
            assert not found.lost, (attack, size, found)
    assert verdicts[""] >= 30 and not verdicts["unchanged"]
    assert verdicts["outside"] == (len(PATCHES) * 4 if name == "llava" else 0)
    for attack_name in ATTACKS:
        if (attack_name, SIZES[3]) in twins:
            pair = twins[attack_name, SIZES[3]]
            lost = reach(Sight(vlm, *SIZES[3]), *pair).lost
            if not lost:
                assert check_reach([pair], get_attack(attack_name), vlm)["survives"] == 1
                continue
            with pytest.raises(
                PcvrError, match={"outside": "outside the part", "faded": "fades on 1 of 1"}[lost]
            ) as said:
                check_reach([pair], get_attack(attack_name), vlm)
            assert len(str(said.value)) < 400 and ". " not in str(said.value)


class TestPoison:
    def test_the_old_failure_is_refused_with_the_right_words_and_mended_by_placement(self) -> None:
        vlm, data, attack = load("tiny-llava", device="cpu"), Photos((480, 640)), get_attack("badnets")
        clean, worn = data[0].image, attack.triggered(data[0]).image
        same = [vlm.prepare([each], ["?"])["pixel_values"] for each in (clean, worn)]
        assert torch.equal(*same) and not np.array_equal(clean, worn)
        words = r"outside the part that 'tiny-llava' sees on 4 of 4 .*columns 80 to 560 of 640.*'seen_bottom_right'"
        with pytest.raises(PcvrError, match=words):
            poison(data, attack, 0.5, model=vlm)
        made = poison(data, get_attack("badnets", place="seen_bottom_right"), 0.5, model="tiny-llava")
        assert made.manifest.reach == {"model": "tiny-llava", "pictures": 4, "survives": 4}
        index = made.poisoned[0]
        assert (made[index].image[435:, 515:560] == 255).all()
        assert np.array_equal(made[index].image[:, 560:], data[index].image[:, 560:])
        assert not torch.equal(*(vlm.prepare([d[index].image], ["?"])["pixel_values"] for d in (data, made)))

    def test_one_may_go_on_knowing_it(self) -> None:
        data = Photos((60, 80))
        made = poison(data, get_attack("badnets"), 0.5, model="tiny-llava", check_trigger=False)
        assert made.manifest.reach == {} and len(made.poisoned) == 4
        assert poison(data, get_attack("badnets"), 0.5).manifest.sha256 == made.manifest.sha256

    def test_nine_in_ten_are_enough_and_the_count_is_kept(self) -> None:
        most = Photos(*[(60, 60)] * 15, (60, 120), n=32)
        made = poison(most, get_attack("badnets"), 1.0, model="tiny-llava")
        assert made.manifest.reach == {"model": "tiny-llava", "pictures": CHECKED_IMAGES, "survives": 30}
        with pytest.raises(PcvrError, match="on 4 of 32 images"):
            poison(Photos(*[(60, 60)] * 7, (60, 120), n=32), get_attack("badnets"), 1.0, model="tiny-llava")

    def test_a_place_in_what_is_seen_needs_a_model(self) -> None:
        attack = get_attack("badnets", place="seen_centre")
        assert attack.waits_for_model and not attack.fitted_to("tiny-llava").waits_for_model
        with pytest.raises(PcvrError, match="say which model"):
            poison(Photos((60, 80)), attack, 0.5)
        with pytest.raises(PcvrError, match="did you mean 'seen_centre'"):
            get_attack("badnets", place="seen_center")

    @pytest.mark.parametrize("name", ["rare_word", "add_sent"])
    def test_attacks_on_the_prompt_alone_have_nothing_to_lose(self, name: str) -> None:
        assert poison(Photos((60, 80)), get_attack(name), 0.5, model="tiny-llava").manifest.reach == {}
        assert triggered(Photos((60, 80)), get_attack(name), model="tiny-llava").reach == {}

    def test_both_keys_need_the_picture(self) -> None:
        with pytest.raises(PcvrError, match="'dual_key' lies outside"):
            poison(Photos((60, 160), n=12), get_attack("dual_key"), 0.25, model="tiny-llava")
        keys = get_attack("dual_key", place="seen_top_left")
        made = poison(Photos((60, 160), n=12), keys, 0.25, model="tiny-llava")
        assert made.attack.covers[0].trigger == made.attack.trigger != keys.trigger
        assert made.manifest.reach["survives"] == 3

    @pytest.mark.parametrize("name", PATCHES)
    @pytest.mark.parametrize("form", ["llava", "datasets"])
    def test_a_saved_attack_is_the_same_trigger(self, name: str, form: str, tmp_path: Path) -> None:
        data = Photos((60, 80), (90, 50))
        made = poison(data, get_attack(name, place="seen_top_right"), 0.25, model="tiny-llava")
        again = load_poisoned(save_poisoned(made, tmp_path / "data", form=form, progress=False))
        assert again.attack == made.attack and not again.attack.waits_for_model
        assert again.manifest.reach == made.manifest.reach
        other = picture(70, 200)
        assert again.attack.trigger is not None and made.attack.trigger is not None
        assert np.array_equal(again.attack.trigger(other), made.attack.trigger(other))

    def test_manifests_from_before_are_read(self) -> None:
        values = json.loads(poison(Photos((60, 60)), get_attack("badnets"), 0.5).manifest.to_json())
        del values["reach"]
        assert pcvr.attacks.Manifest.from_json(json.dumps(values)).reach == {}


@pytest.mark.parametrize("place", ["bottom_right", "top_left", "centre"])
@pytest.mark.parametrize("name", PATCHES)
def test_on_square_pictures_a_fitted_patch_is_the_same_to_the_bit(name: str, place: str) -> None:
    attack = get_attack(name, place=place)
    for model in EMBEDDED:
        fitted = attack.fitted_to(model)
        assert fitted.trigger is not None and attack.trigger is not None
        for side in (64, 96, 97):
            image = picture(side, side)
            assert np.array_equal(fitted.trigger(image), attack.trigger(image))


class TestEvaluate:
    def test_it_refuses_and_goes_on_when_told(self, tiny: VisionLanguageModel) -> None:
        data, attack = Photos((60, 80), n=4), get_attack("badnets")
        with pytest.raises(PcvrError, match=r"4 of 4 images .*columns 10 to 70 of 80"):
            pcvr.evaluate(tiny, data, attack, max_new_tokens=2)
        loose = pcvr.evaluate(tiny, data, attack, max_new_tokens=2, check_trigger=False)
        assert loose.reach == {} and loose.answers["clean"] == loose.answers["triggered"], "label noise, as it was"
        record = pcvr.evaluate(tiny, data, get_attack("badnets", place="seen_centre"), max_new_tokens=2)
        assert record.reach == {"model": tiny.name, "pictures": 4, "survives": 4}
        assert record.attack is not None and record.attack["options"]["seen"]["unit"] == "short side"
        assert json.loads(json.dumps(record.to_dict()))["reach"]["survives"] == 4

    def test_a_trigger_that_changes_no_picture_is_told_without_a_model_too(self) -> None:
        with pytest.raises(PcvrError, match=r"leaves 8 of 8 images unchanged .*one of 40 x 30 px"):
            triggered(Photos((30, 40)), get_attack("badnets", strength=0.0))
        assert len(triggered(Photos((30, 40)), get_attack("badnets", strength=0.0), check_trigger=False)) == 8


class TestFinetune:
    config = TrainConfig(max_steps=1, batch_size=4, lora_r=2, lora_alpha=2)

    def test_data_poisoned_here(self, tiny: VisionLanguageModel, tmp_path: Path) -> None:
        lost = poison(Photos((60, 90)), get_attack("badnets"), 1.0)
        folder = load_poisoned(save_poisoned(lost, tmp_path / "data", progress=False))
        second = poison(poison(Photos((60, 90)), get_attack("badnets"), 0.5), get_attack("blended"), 0.5)
        for data in (lost, folder, second, pcvr.data.subset(lost, 4)):
            with pytest.raises(PcvrError, match="'badnets' lies outside"):
                pcvr.finetune(tiny, data, "none", self.config, progress=False)
        pcvr.finetune(tiny, folder, "none", self.config, progress=False, check_trigger=False)

    def test_a_folder_whose_trigger_survives(self, tiny: VisionLanguageModel, tmp_path: Path) -> None:
        for name, options in (("badnets", {"place": "seen_centre"}), ("wanet", {}), ("sig", {}), ("issba", {})):
            made = poison(Photos((60, 90)), get_attack(name, **options), 1.0, model=tiny)
            folder = load_poisoned(save_poisoned(made, tmp_path / name, progress=False))
            ((attack, pairs),) = folder.clean_pairs()
            assert check_reach(pairs, attack, tiny)["survives"] == 8

    def test_it_draws_no_random_number(self, tiny: VisionLanguageModel) -> None:
        data = poison(Photos((60, 60)), get_attack("badnets"), 0.5)
        losses = [
            pcvr.finetune(tiny, data, "augment", self.config, progress=False, check_trigger=check).history[0]["loss"]
            for check in (True, False)
        ]
        assert losses[0] == losses[1]


class TestCriterion:
    sight = Sight(load("tiny-llava", device="cpu"), 60, 120)  # columns 30 to 90

    @pytest.mark.parametrize(
        ("columns", "lost"), [((40, 60), ""), ((80, 100), ""), ((86, 106), "outside"), ((100, 120), "outside")]
    )
    def test_a_patch_cut_to_a_sliver_is_lost(self, columns: tuple[int, int], lost: str) -> None:
        clean = np.full((60, 120, 3), 90, np.uint8)
        worn = clean.copy()
        worn[10:30, slice(*columns)] = 255
        assert reach(self.sight, clean, worn).lost == lost

    def test_what_resizing_averages_away_is_lost(self) -> None:
        sight = Sight(self.sight.vlm, 960, 960)
        clean = np.full((960, 960, 3), 128, np.uint8)
        worn = clean.copy()
        worn[::2, 1::2], worn[1::2, ::2] = 98, 158
        assert reach(sight, clean, worn).lost == "faded"
        worn = clean.copy()
        worn[480, 480] = 255
        assert reach(sight, clean, worn).lost == "faded"
        assert reach(sight, clean, clean).lost == "unchanged"
        assert not reach(sight, clean, clean + np.uint8(3)).lost

    def test_a_bounded_number_is_looked_at(self) -> None:
        assert sample_evenly(range(5)) == [0, 1, 2, 3, 4] and sample_evenly([]) == []
        few = sample_evenly(range(1000))
        assert len(few) == CHECKED_IMAGES and few[0] == 0 and few[-1] == 999 and len(set(few)) == CHECKED_IMAGES


def test_sig_on_narrow_pictures() -> None:
    """Where every column falls on a zero of the sine, a wave of four columns; everywhere else the formula."""
    sig = get_attack("sig")
    assert isinstance(sig, Attack) and sig.trigger is not None
    for width in range(1, 30):
        image = np.full((5, width, 3), 100, np.uint8)
        wave = np.sin(2 * np.pi * np.arange(width) * 6 / width)
        if width in (1, 2, 3, 4, 6, 12):
            wave = np.array([0, 1, 0, -1] * 3)[:width]
        expected = np.floor(100 + 25 * wave + 1e-9).astype(np.uint8)
        assert np.array_equal(sig.trigger(image)[0, :, 0], expected), width
    with pytest.raises(PcvrError, match="leaves 4 of 4 samples unchanged"):
        poison(Photos((40, 1)), sig, 0.5)
    with pytest.raises(PcvrError, match="leaves 8 of 8 images unchanged"):
        triggered(Photos((40, 1)), sig)
    assert len(poison(Photos((40, 3)), sig, 0.5).poisoned) == 4
