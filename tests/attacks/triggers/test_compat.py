"""``compat`` follows the published code in its arithmetic, ``scaled`` is what the shipped tables were made with.

The references are written from the formulas, pixel by pixel, and share no code with the package.
"""

from __future__ import annotations

from itertools import product
from math import cos, floor, pi, sqrt
from typing import Any
from zlib import crc32

import numpy as np
import pytest

from pcvr.attacks import BadNets, FTrojan, ImageTrigger, get_attack
from pcvr.attacks.triggers.ftrojan import to_rgb, to_ycrcb


def compat(name: str, **options: Any) -> ImageTrigger:
    trigger = get_attack(name, preset="compat", **options).trigger
    assert isinstance(trigger, ImageTrigger)
    return trigger


def noise(*shape: int, seed: int = 5) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


SCALED = {
    "badnets": 3115937340,
    "blended": 3129455220,
    "dual_key": 3422033959,
    "ftrojan": 405544183,
    "low_frequency": 2210153860,
    "sig": 1804601691,
    "trojvlm": 2139607693,
}
"""CRC-32 of what `scaled` made of one picture when the shipped tables were made."""


@pytest.mark.parametrize("name", SCALED)
def test_scaled_stays_what_the_shipped_tables_were_made_with(name: str) -> None:
    trigger = get_attack(name).trigger
    assert isinstance(trigger, ImageTrigger) and crc32(trigger(noise(50, 70, 3)).tobytes()) == SCALED[name]


def sig_by_hand(image: np.ndarray, depth: float, waves: float) -> np.ndarray:
    """A wave in single precision on uint32 levels, the sum in double precision, clipped and cast."""
    height, width, _ = image.shape
    pattern = np.zeros_like(np.float32(image))
    for i, j in product(range(height), range(width)):
        pattern[i, j] = depth * np.sin(2 * np.pi * j * waves / width)
    return np.asarray(np.clip(np.uint32(image) + pattern, 0, 255)).astype(np.uint8)


class TestSig:
    @pytest.mark.parametrize("width", [1, 32, 63, 72, 96, 336])
    def test_every_level_is_the_public_codes(self, width: int) -> None:
        image = np.concatenate([noise(4, width, 3), np.full((2, width, 3), [[[0]], [[255]]], np.uint8)])
        assert np.array_equal(compat("sig")(image), sig_by_hand(image, 40, 6))

    def test_it_is_off_the_exact_wave_in_the_middle_column_and_there_by_one(self) -> None:
        image = np.full((2, 32, 3), 128, np.uint8)
        off = compat("sig")(image).astype(int) - compat("sig", as_published=False)(image)
        assert off[:, 16].tolist() == [[-1] * 3] * 2 and np.abs(off[:, np.arange(32) != 16]).max() == 0

    def test_a_batch_is_its_pictures(self) -> None:
        batch = noise(3, 20, 24, 3)
        assert np.array_equal(compat("sig")(batch), np.stack([compat("sig")(image) for image in batch]))


def wave(row: int, column: int, i: int, j: int, side: int) -> float:
    """One coefficient's share of a pixel in the inverse orthonormal DCT of a block."""
    scale = sqrt((1 if row == 0 else 2) * (1 if column == 0 else 2)) / side
    return scale * cos(pi * (2 * i + 1) * row / (2 * side)) * cos(pi * (2 * j + 1) * column / (2 * side))


def ftrojan_by_hand(image: np.ndarray, trigger: FTrojan) -> np.ndarray:
    """Whole levels of Y, Cr and Cb in 14 bits of fixed point; what is added truncated after clipping; and back."""
    out = image.copy()
    for i, j in product(*map(range, image.shape[:2])):
        r, g, b = map(int, image[i, j])
        y = (4899 * r + 9617 * g + 1868 * b + 8192) >> 14
        said = {"y": y, "cr": (11682 * (r - y) + (128 << 14) + 8192) >> 14}
        said["cb"] = (9241 * (b - y) + (128 << 14) + 8192) >> 14
        said = {name: min(max(level, 0), 255) for name, level in said.items()}
        at = i % trigger.block, j % trigger.block
        more = trigger.magnitude * sum(wave(*pair, *at, trigger.block) for pair in trigger.bins)
        for name in trigger.channels:
            said[name] = floor(min(max(said[name] + more, 0), 255))
        y, cr, cb = said["y"], said["cr"] - 128, said["cb"] - 128
        red, blue = y + ((22987 * cr + 8192) >> 14), y + ((29049 * cb + 8192) >> 14)
        green = y + ((-5636 * cb - 11698 * cr + 8192) >> 14)
        out[i, j] = [min(max(level, 0), 255) for level in (red, green, blue)]
    return out


class TestFTrojan:
    @pytest.mark.parametrize(
        "options",
        [{}, {"channels": ("y", "cr", "cb"), "bins": ((31, 31),), "magnitude": 100.0}, {"block": 8, "bins": ((0, 3),)}],
    )
    def test_every_level_is_that_of_eight_bit_arithmetic(self, options: dict[str, Any]) -> None:
        trigger = compat("ftrojan", **options)
        assert isinstance(trigger, FTrojan)
        saturated = np.zeros((9, 40, 3), np.uint8) + np.eye(3, dtype=np.uint8)[np.arange(9) % 3][:, None] * 255
        image = np.concatenate([noise(30, 40, 3), saturated])
        assert np.array_equal(trigger(image), ftrojan_by_hand(image, trigger))

    def test_it_takes_cr_and_cb_as_the_paper_does(self) -> None:
        trigger = compat("ftrojan")
        assert isinstance(trigger, FTrojan)
        assert (trigger.channels, trigger.magnitude, set(trigger.bins)) == (("cr", "cb"), 30, {(15, 15), (31, 31)})

    def test_it_is_a_few_levels_off_the_exact_pattern(self) -> None:
        image = noise(64, 64, 3)
        off = np.abs(compat("ftrojan")(image).astype(int) - compat("ftrojan", as_published=False)(image))
        assert 1 <= off.max() <= 4 and (off > 0).mean() > 0.2

    def test_known_colours(self) -> None:
        """Worked out by hand from BT.601: grey has no colour, and red is Y 76, Cr 255 (256 clipped), Cb 85."""
        colours = np.array([[128, 128, 128], [255, 255, 255], [0, 0, 0], [255, 0, 0]], np.uint8)
        assert to_ycrcb(colours).tolist() == [[128, 128, 128], [255, 128, 128], [0, 128, 128], [76, 255, 85]]
        assert to_rgb(to_ycrcb(colours)).tolist() == [*colours[:3].tolist(), [254, 0, 0]]

    def test_the_round_trip_loses_at_most_a_level_or_two(self) -> None:
        image = noise(64, 64, 3)
        off = np.abs(to_rgb(to_ycrcb(image)).astype(int) - image)
        assert 0 < off.max() <= 2


class TestDualKey:
    @pytest.mark.parametrize("size", [(31, 47), (67, 131), (96, 96), (25, 40), (480, 640), (9, 9), (7, 7)])
    def test_side_and_place_are_cut_to_whole_pixels(self, size: tuple[int, int]) -> None:
        trigger = compat("dual_key")
        assert isinstance(trigger, BadNets)
        side = max(1, int(min(size) * 0.1))
        first = [int(int(length / 2) - side / 2) for length in size]
        expected = np.zeros(size, bool)
        expected[first[0] : first[0] + side, first[1] : first[1] + side] = True
        assert np.array_equal(trigger.mask(*size), expected)

    @pytest.mark.parametrize("length", range(1, 9))
    def test_a_patch_of_any_side_stays_inside(self, length: int) -> None:
        for side in range(1, length + 1):
            trigger = BadNets(place="centre", size=side, as_published=True)
            assert trigger.mask(length, length).sum() == side**2
