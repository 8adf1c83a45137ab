"""The triggers: one contract for all, each formula against its plain form, and cases that can be worked out by hand."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image as PilImage
from scipy.fft import dctn

from benchmarks.plain_triggers import FORMS, plain
from pcvr.attacks import (
    ATTACKS,
    Blended,
    FTrojan,
    ImageTrigger,
    LowFrequency,
    Sig,
    WaNet,
    get_attack,
    measure_stealth,
)
from pcvr.attacks.triggers.uint8 import add, rounded, truncated
from pcvr.attacks.triggers.wanet import resample
from pcvr.errors import PcvrError
from tests.attacks.contract import kept_by
from tests.pictures import noise

PICTURES = sorted(name for name in ATTACKS if isinstance(get_attack(name).trigger, ImageTrigger))

triggers: dict[str, st.SearchStrategy[ImageTrigger]] = {
    "blended": st.builds(
        Blended, alpha=st.floats(0, 1), pattern=st.sampled_from(["face", "noise"]), seed=st.integers(0, 9)
    ),
    "sig": st.builds(Sig, amplitude=st.floats(0, 255), frequency=st.floats(0.1, 50)),
    "wanet": st.builds(
        WaNet,
        cells=st.integers(2, 9),
        strength=st.one_of(st.none(), st.floats(0, 5)),
        shift=st.floats(0, 0.5),
        noise=st.sampled_from([0.0, 1.0]),
        seed=st.integers(0, 9),
    ),
    "ftrojan": st.builds(
        FTrojan,
        magnitude=st.floats(0, 500),
        bins=st.lists(st.tuples(st.integers(0, 7), st.integers(0, 7)), min_size=1, max_size=3, unique=True).map(tuple),
        channels=st.lists(st.sampled_from(["y", "cr", "cb"]), min_size=1, max_size=3, unique=True).map(tuple),
        block=st.sampled_from([8, 16, 32]),
    ),
    "low_frequency": st.builds(
        LowFrequency,
        peak=st.floats(0, 255),
        sigma=st.one_of(st.none(), st.floats(0.5, 20)),
        share=st.floats(0.05, 1),
        seed=st.integers(0, 9),
    ),
}
batches = st.tuples(st.integers(1, 3), st.integers(1, 40), st.integers(1, 40)).flatmap(
    lambda shape: arrays(np.uint8, (*shape, 3))
)


def trigger_of(name: str, **options: Any) -> ImageTrigger:
    trigger = get_attack(name, **options).trigger
    assert isinstance(trigger, ImageTrigger)
    return trigger


@pytest.mark.parametrize("name", sorted(triggers))
@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_any_size_keeps_the_contract_and_follows_the_formula(name: str, data: st.DataObject) -> None:
    batch, trigger = data.draw(batches), data.draw(triggers[name])
    out = kept_by(trigger, batch)
    assert np.array_equal(out, copy.copy(trigger)(batch)), "the fields alone decide"
    expected = np.stack([plain(trigger)(image) for image in batch])
    off = np.abs(out.astype(int) - expected)
    # The plain form rounds in floats: where its sum lies on a border, either side is right. Nothing may ever wrap.
    assert off.max() <= 1
    assert (off != 0).mean() < 0.02 or (off != 0).sum() <= 12


@pytest.mark.parametrize("name", PICTURES)
class TestEveryTrigger:
    @pytest.mark.parametrize("size", [(96, 96), (224, 160), (67, 131), (40, 33)])
    def test_follows_its_plain_form_on_a_picture(self, name: str, size: tuple[int, int]) -> None:
        trigger, image = trigger_of(name), noise(*size, 3)
        if type(trigger).__name__ not in FORMS:
            pytest.skip("a trained encoder or an optimised patch is no formula")
        off = np.abs(trigger(image).astype(int) - plain(trigger)(image))
        assert off.max() <= 1
        assert (off != 0).mean() < 0.001

    @pytest.mark.parametrize("preset", ["compat", "scaled"])
    def test_both_presets_change_a_picture_and_keep_it_a_picture(self, name: str, preset: str) -> None:
        image = np.asarray(PilImage.fromarray(noise(6, 6, 3)).resize((96, 80), PilImage.Resampling.BICUBIC))
        after = trigger_of(name, preset=preset)(image)
        assert not np.array_equal(after, image)
        # The coarse bend of WaNet, like frosted glass, keeps least of the structure.
        assert measure_stealth(image, after).ssim > 0.2

    def test_black_white_and_saturated_colours_never_wrap(self, name: str) -> None:
        for colour in ((0, 0, 0), (255, 255, 255), (255, 0, 0), (0, 0, 255)):
            image = np.full((64, 64, 3), colour, np.uint8)
            off = trigger_of(name)(image).astype(int) - image
            for channel, level in enumerate(colour):
                change = off[:, :, channel]
                assert (change >= 0).all() if level == 0 else (change <= 0).all()

    def test_large_batches_are_shared_out_and_stay_the_same(self, name: str) -> None:
        batch = noise(40, 128, 160, 3)
        trigger = trigger_of(name)
        out = trigger(batch)
        assert all(np.array_equal(out[k], trigger(batch[k])) for k in (0, 19, 20, 39))

    @pytest.mark.parametrize("mode", ["L", "RGBA", "P", "CMYK", "1", "LA", "I;16"])
    def test_pil_pictures_of_any_mode_come_back_as_rgb(self, name: str, mode: str) -> None:
        out = trigger_of(name)(PilImage.new(mode, (24, 18)))
        assert (out.mode, out.size) == ("RGB", (24, 18))

    def test_one_pixel_and_a_long_strip(self, name: str) -> None:
        for shape in ((1, 1, 3), (3, 10_000, 3)):
            assert trigger_of(name)(np.full(shape, 128, np.uint8)).shape == shape


def test_levels_are_added_as_the_formula_says() -> None:
    x = np.arange(256, dtype=np.uint8).reshape(1, 16, 16, 1).repeat(3, axis=3)
    for d in (-300.0, -255.0, -0.5, -0.1, 0.0, 0.2, 0.5, 1.49, 1.5, 254.9, 999.0):
        exact = x.astype(float) + d
        assert np.array_equal(add(x, truncated(np.array(d))), np.clip(exact, 0, 255).astype(np.uint8))
        assert np.array_equal(add(x, rounded(np.array(d))), np.clip(np.floor(exact + 0.5), 0, 255).astype(np.uint8))


class TestSig:
    def test_a_flat_picture_shows_the_wave(self) -> None:
        out = Sig(amplitude=40, frequency=2)(np.full((3, 16, 3), 100, np.uint8))
        assert out[0, :, 0].tolist() == [100, 128, 140, 128, 100, 71, 60, 71] * 2
        assert (out == out[0, :, :1][None]).all(), "the same for every row and channel"

    def test_the_wave_is_the_same_at_every_width(self) -> None:
        narrow, wide = (Sig()(np.full((1, width, 3), 128, np.uint8))[0, :, 0] for width in (96, 192))
        assert np.array_equal(narrow, wide[::2])


class TestBlended:
    def test_a_fifth_of_the_way(self) -> None:
        image = noise(10, 12, 3)
        shine = Blended().picture(10, 12).astype(int)
        assert np.array_equal(Blended(alpha=0.2)(image), (4 * image.astype(int) + shine) // 5)

    def test_nothing_and_everything(self) -> None:
        image = noise(9, 7, 3)
        assert np.array_equal(Blended(alpha=0)(image), image)
        assert np.array_equal(Blended(alpha=1)(image), Blended().picture(9, 7))

    def test_the_noise_has_cells_that_do_not_depend_on_size(self) -> None:
        small, large = (Blended(pattern="noise").picture(side, side) for side in (64, 320))
        assert np.array_equal(small[::2, ::2], large[::10, ::10])
        assert len(np.unique(small.reshape(-1, 3), axis=0)) > 1000

    def test_the_face_is_the_same_drawing_at_every_size(self) -> None:
        small, large = (Blended().picture(side, side).astype(int) for side in (64, 192))
        assert (small != large[1::3, 1::3]).mean() < 0.001


class TestWaNet:
    def test_an_identity_field_changes_nothing(self) -> None:
        image = noise(2, 33, 47, 3)
        rows, columns = np.mgrid[0:33, 0:47].astype(float)
        assert np.array_equal(resample(image, rows, columns), image)
        assert np.array_equal(WaNet(strength=0)(image), image)

    def test_a_shift_of_one_pixel_is_a_shift_of_one_pixel(self) -> None:
        image = noise(1, 9, 9, 3)
        rows, columns = np.mgrid[0:9, 0:9].astype(float)
        assert np.array_equal(resample(image, rows, np.clip(columns + 1, 0, 8))[:, :, :8], image[:, :, 1:])

    def test_the_field_is_the_papers(self) -> None:
        torch = pytest.importorskip("torch")
        drawn = np.random.default_rng(3).uniform(-1, 1, (2, 4, 4))
        drawn /= np.abs(drawn).mean()
        expected = torch.nn.functional.interpolate(
            torch.from_numpy(drawn)[None], size=(31, 50), mode="bicubic", align_corners=True
        )
        assert np.allclose(WaNet(seed=3).field(31, 50), expected[0].numpy())

    @pytest.mark.parametrize("side", [32, 224, 336])
    def test_the_papers_strength_moves_half_a_pixel_at_any_size(self, side: int) -> None:
        rows, columns = WaNet(strength=0.5).places(side, side)
        moved = np.hypot(rows - np.arange(side)[:, None], columns - np.arange(side)[None, :])
        assert 0.1 < np.abs(rows - np.arange(side)[:, None]).mean() < 0.4
        assert moved.max() < 1.5

    def test_the_scaled_preset_moves_the_same_share_at_any_size(self) -> None:
        shares = []
        for side in (96, 336):
            rows, _ = WaNet().places(side, side)
            shares.append(np.abs(rows - np.arange(side)[:, None]).mean() / side)
        assert shares[0] == pytest.approx(shares[1], rel=0.05)


class TestFTrojan:
    def test_one_block_gains_exactly_its_bins(self) -> None:
        trigger = FTrojan(magnitude=200, bins=((3, 5),), channels=("y",))
        image = np.full((32, 32, 3), 128, np.uint8)
        change = dctn(trigger(image)[:, :, 0].astype(float) - image[:, :, 0], norm="ortho")
        assert change[3, 5] == pytest.approx(200, abs=2)
        change[3, 5] = 0
        assert np.abs(change).max() < 2, "what is left is rounding"

    def test_sides_that_are_no_multiple_of_the_block_are_cut_off(self) -> None:
        whole = FTrojan()(np.full((64, 64, 3), 128, np.uint8))
        assert np.array_equal(FTrojan()(np.full((50, 41, 3), 128, np.uint8)), whole[:50, :41])

    def test_colour_changes_keep_the_brightness(self) -> None:
        pattern = FTrojan().pattern(32, 32)
        assert np.allclose(pattern @ [0.299, 0.587, 0.114], 0, atol=1e-2)


class TestLowFrequency:
    def test_the_pattern_spans_zero_to_its_peak(self) -> None:
        pattern = LowFrequency(peak=51).pattern(96, 128)
        assert pattern.min(axis=(0, 1)) == pytest.approx([0, 0, 0])
        assert pattern.max(axis=(0, 1)) == pytest.approx([51, 51, 51])

    def test_it_is_smooth(self) -> None:
        spectrum = np.abs(dctn(LowFrequency().pattern(96, 96)[:, :, 0], norm="ortho"))
        assert (spectrum[16:] ** 2).sum() + (spectrum[:, 16:] ** 2).sum() < 1e-4 * (spectrum**2).sum()

    def test_it_is_the_same_haze_at_every_resolution(self) -> None:
        small, large = (LowFrequency().pattern(side, side) for side in (64, 192))
        assert np.abs(small - large[1::3, 1::3]).max() < 0.5


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("sig", {"amplitude": -1}),
        ("sig", {"frequency": 0}),
        ("sig", {"amplitude": float("nan")}),
        ("blended", {"alpha": 1.1}),
        ("blended", {"pattern": "cat"}),
        ("wanet", {"cells": 1}),
        ("wanet", {"shift": 0.6}),
        ("wanet", {"seed": -1}),
        ("ftrojan", {"bins": ()}),
        ("ftrojan", {"bins": ((1, 2, 3),)}),
        ("ftrojan", {"bins": ((0, 32),)}),
        ("ftrojan", {"channels": ("red",)}),
        ("ftrojan", {"channels": ()}),
        ("low_frequency", {"sigma": 0}),
        ("low_frequency", {"peak": "high"}),
        ("dual_key", {"cover": 0}),
        ("dual_key", {"text": "?"}),
        ("rare_word", {"place": "middle"}),
    ],
)
def test_options_out_of_range_are_named(name: str, options: dict[str, Any]) -> None:
    with pytest.raises(PcvrError, match="|".join(options) + "|frequency in bins|place|channel"):
        get_attack(name, **options)
