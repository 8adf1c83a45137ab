"""BadNets against its definition, and the base of all image triggers."""

from __future__ import annotations

import dataclasses
import math
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image as PilImage

from pcvr.attacks import (
    BadNets,
    ImageTrigger,
    Trigger,
    get_attack,
)
from pcvr.attacks.placing import PLACES
from pcvr.attacks.triggers.badnets import PATTERNS
from pcvr.errors import PcvrError
from tests.attacks.contract import kept_by
from tests.pictures import noise

batches = st.tuples(st.integers(1, 3), st.integers(1, 40), st.integers(1, 40)).flatmap(
    lambda shape: arrays(np.uint8, (*shape, 3))
)
triggers = st.builds(
    BadNets,
    pattern=st.sampled_from(PATTERNS),
    place=st.sampled_from(PLACES),
    size=st.one_of(st.none(), st.integers(1, 5)),
    share=st.floats(0.01, 1),
    strength=st.floats(0, 1),
    margin=st.integers(0, 3),
)


def badnets_by_hand(image: np.ndarray, trigger: BadNets) -> np.ndarray:
    """The definition pixel by pixel, sharing no code with the package."""
    height, width, _ = image.shape
    side = trigger.size or max(1, math.floor(trigger.share * min(height, width) + 0.5))
    corner = {
        "top_left": (trigger.margin, trigger.margin),
        "top_right": (trigger.margin, width - trigger.margin - side),
        "bottom_left": (height - trigger.margin - side, trigger.margin),
        "bottom_right": (height - trigger.margin - side, width - trigger.margin - side),
        "centre": ((height - side) // 2, (width - side) // 2),
    }[trigger.place]
    out = image.copy()
    for row, column, channel in product(range(side), range(side), range(3)):
        level = 1 if trigger.pattern == "checkerboard" and (row + column) % 2 else 255
        if trigger.pattern == "blue" and channel < 2:
            level = 0
        old = int(image[corner[0] + row, corner[1] + column, channel])
        out[corner[0] + row, corner[1] + column, channel] = round(
            (1 - trigger.strength) * old + trigger.strength * level
        )
    return out


def fits(trigger: BadNets, height: int, width: int) -> bool:
    margin = 0 if trigger.place == "centre" else trigger.margin
    return trigger.side(height, width) + margin <= min(height, width)


class TestBadNets:
    @settings(max_examples=150, deadline=None)
    @given(batch=batches, trigger=triggers)
    def test_any_size_follows_the_definition_and_the_contract(self, batch: np.ndarray, trigger: BadNets) -> None:
        if not fits(trigger, *batch.shape[1:3]):
            with pytest.raises(PcvrError, match="does not fit"):
                trigger(batch)
            return
        out = kept_by(trigger, batch)
        assert np.array_equal(out, np.stack([badnets_by_hand(image, trigger) for image in batch]))
        outside = ~trigger.mask(*batch.shape[1:3])
        assert np.array_equal(out[:, outside], batch[:, outside]), "only pixels under the mask change"
        assert trigger.mask(*batch.shape[1:3]).sum() == trigger.side(*batch.shape[1:3]) ** 2

    @settings(max_examples=50, deadline=None)
    @given(batch=batches, trigger=triggers.map(lambda t: dataclasses.replace(t, strength=1.0, margin=0, size=None)))
    def test_at_full_strength_twice_is_once(self, batch: np.ndarray, trigger: BadNets) -> None:
        once = trigger(batch)
        assert np.array_equal(trigger(once), once)

    @settings(max_examples=50, deadline=None)
    @given(batch=batches, trigger=triggers.map(lambda t: dataclasses.replace(t, strength=0.0, margin=0, size=None)))
    def test_strength_zero_changes_nothing(self, batch: np.ndarray, trigger: BadNets) -> None:
        assert np.array_equal(trigger(batch), batch)

    def test_compat_is_three_white_pixels_bottom_right_at_any_size(self) -> None:
        for height, width in ((32, 32), (224, 336), (3, 3)):
            attack = get_attack("badnets", preset="compat")
            assert attack.trigger is not None
            out = attack.trigger(np.zeros((height, width, 3), np.uint8))
            assert (out[-3:, -3:] == 255).all()
            assert out.sum() == 9 * 3 * 255

    def test_scaled_is_nine_pixels_at_96_and_follows_the_short_side(self) -> None:
        trigger = BadNets()
        assert [trigger.side(*size) for size in ((96, 96), (96, 500), (336, 336), (1, 1), (32, 64))] == [9, 9, 32, 1, 3]

    def test_checkerboard_alternates_255_and_1_from_its_own_corner(self) -> None:
        out = BadNets("checkerboard", "top_left", size=3)(np.full((5, 5, 3), 7, np.uint8))
        assert out[:3, :3, 0].tolist() == [[255, 1, 255], [1, 255, 1], [255, 1, 255]]

    def test_half_strength_on_grey(self) -> None:
        out = BadNets(size=1, strength=0.5)(np.full((2, 2, 3), 100, np.uint8))
        assert out[1, 1].tolist() == [178, 178, 178]  # 177.5 to the even neighbour
        assert BadNets(size=1, strength=0.1)(np.full((1, 1, 3), 255, np.uint8)).tolist() == [[[255, 255, 255]]]

    def test_memory_layouts_and_an_empty_batch(self) -> None:
        image = noise(12, 10, 3)
        expected = BadNets(size=4)(image)
        assert np.array_equal(BadNets(size=4)(np.asfortranarray(image)), expected)
        wide = noise(12, 20, 3)
        assert np.array_equal(BadNets(size=4)(wide[:, ::2]), BadNets(size=4)(wide[:, ::2].copy()))
        frozen = image.copy()
        frozen.flags.writeable = False
        assert np.array_equal(BadNets(size=4)(frozen), expected)
        assert BadNets(size=4)(expected).flags.writeable
        assert BadNets(size=4)(noise(0, 12, 10, 3)).shape == (0, 12, 10, 3)

    @pytest.mark.parametrize("mode", ["RGB", "L", "RGBA", "P", "CMYK", "1", "LA", "I;16", "HSV", "YCbCr"])
    def test_pil_in_pil_out(self, mode: str) -> None:
        picture = PilImage.new(mode, (11, 7))
        before = picture.tobytes()
        out = BadNets(size=2)(picture)
        assert isinstance(out, PilImage.Image)
        assert (out.size, out.mode) == ((11, 7), "RGB")
        assert (np.asarray(out)[-2:, -2:] == 255).all()
        assert picture.tobytes() == before

    def test_pil_equals_array(self) -> None:
        image = noise(20, 30, 3)
        assert np.array_equal(np.asarray(BadNets()(PilImage.fromarray(image))), BadNets()(image))

    @pytest.mark.parametrize(
        ("options", "words"),
        [
            ({"pattern": "whit"}, "did you mean 'white'"),
            ({"place": "center"}, "did you mean 'centre'"),
            ({"size": 0}, "size is 0"),
            ({"size": 2.5}, "size is 2.5"),
            ({"size": True}, "size is True"),
            ({"share": 0}, "share is 0"),
            ({"share": 1.01}, "share is 1.01"),
            ({"strength": -0.1}, "strength is -0.1"),
            ({"strength": 1.5}, "strength is 1.5"),
            ({"strength": float("nan")}, "strength is nan"),
            ({"margin": -1}, "margin is -1"),
        ],
    )
    def test_bad_options(self, options: dict[str, object], words: str) -> None:
        with pytest.raises(PcvrError, match=words):
            BadNets(**options)  # type: ignore[arg-type]

    @pytest.mark.parametrize(
        ("image", "words"),
        [
            (noise(8, 8, 3).astype(np.float32), "uint8"),
            (noise(8, 8), "at least one pixel"),
            (noise(8, 8, 4), "at least one pixel"),
            (noise(0, 8, 3), "at least one pixel"),
            ([[0]], "not a list"),
            (noise(2, 9, 3), "patch of 3 px with a margin of 0 px does not fit an image of 9 x 2 px"),
        ],
    )
    def test_bad_pictures(self, image: object, words: str) -> None:
        with pytest.raises(PcvrError, match=words):
            BadNets(size=3)(image)  # type: ignore[type-var]


class Shrinks(ImageTrigger):
    def apply(self, batch: np.ndarray) -> np.ndarray:
        return batch[:, ::2]


class WritesIntoItsInput(ImageTrigger):
    def apply(self, batch: np.ndarray) -> np.ndarray:
        batch[:, 0, 0] = 0
        return batch


class TestTriggerBase:
    def test_a_trigger_that_changes_the_size_is_refused(self) -> None:
        with pytest.raises(PcvrError, match="keeps size and dtype"):
            Shrinks()(noise(8, 8, 3))

    def test_a_trigger_cannot_write_into_its_input(self) -> None:
        image = noise(8, 8, 3)
        before = image.copy()
        with pytest.raises(ValueError, match="read-only"):
            WritesIntoItsInput()(image)
        assert np.array_equal(image, before)
        image[0, 0] = 1  # the caller's own array stays writable

    def test_protocol(self) -> None:
        assert isinstance(BadNets(), Trigger)
