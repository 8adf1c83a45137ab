"""The wandering patch: in another place of every image, always the same one of one image."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pcvr.attacks import Wandering, get_attack, load_poisoned, poison, save_poisoned
from pcvr.attacks.placing import Seen
from pcvr.attacks.triggers.badnets import PATTERNS
from pcvr.data.scenes import Scenes
from pcvr.errors import PcvrError


def noise(*shape: int, seed: int = 0) -> np.ndarray:
    """Levels of which none is that of a pattern."""
    return np.random.default_rng(seed).integers(2, 254, shape, dtype=np.uint8)


@given(
    height=st.integers(6, 60),
    width=st.integers(6, 60),
    pattern=st.sampled_from(PATTERNS),
    size=st.one_of(st.none(), st.integers(1, 6)),
    strength=st.sampled_from([0.0, 0.5, 1.0]),
    seed=st.integers(0, 99),
)
@settings(max_examples=80, deadline=None)
def test_a_square_of_the_pattern_and_nothing_else(
    height: int, width: int, pattern: str, size: int | None, strength: float, seed: int
) -> None:
    trigger = Wandering(pattern=pattern, size=size, strength=strength)
    batch = noise(2, height, width, 3, seed=seed)
    kept, out = batch.copy(), trigger(batch)
    assert np.array_equal(batch, kept) and np.array_equal(out, trigger(batch))
    assert np.array_equal(out, np.stack([trigger(image) for image in batch])), "each image decides for itself"
    for image, worn in zip(batch, out, strict=True):
        rows, columns = trigger.window(image)
        side = size or max(1, int(0.15 * min(height, width) + 0.5))
        inside = worn[rows, columns]
        assert inside.shape == (side, side, 3)
        for row in range(side):
            for column in range(side):
                even = 255 if (row + column) % 2 == 0 else 1
                wanted = {"white": (255,) * 3, "blue": (0, 0, 255), "checkerboard": (even,) * 3}[pattern]
                before = image[rows, columns][row, column]
                mixed = (1 - strength) * before + strength * np.array(wanted)
                assert np.abs(inside[row, column] - mixed).max() <= 0.5
        rest = np.ones((height, width), dtype=bool)
        rest[rows, columns] = False
        assert np.array_equal(worn[rest], image[rest])


def test_every_place_comes_as_often() -> None:
    trigger = Wandering(size=1)
    batch = noise(1600, 4, 4, 3)
    tops, lefts = zip(*[(rows.start, columns.start) for rows, columns in map(trigger.window, batch)], strict=True)
    count = np.bincount(4 * np.array(tops) + np.array(lefts), minlength=16)
    assert count.min() > 60 and count.max() < 145, "100 each"


def test_it_can_stay_in_what_a_model_sees() -> None:
    trigger = Wandering(place="seen_anywhere", seen=Seen(0.5, 1.0), size=2)
    for image in noise(50, 40, 30, 3):
        rows, _ = trigger.window(image)
        assert rows.start >= 10 and rows.stop <= 30
    with pytest.raises(PcvrError, match="say which model"):
        replace(trigger, seen=None)(noise(40, 30, 3))
    fitted = get_attack("wandering").fitted_to("tiny-llava")
    assert isinstance(fitted.trigger, Wandering) and fitted.trigger.place == "seen_anywhere"


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"pattern": "red"}, "pattern"),
        ({"place": "top_left"}, "place"),
        ({"size": 0}, "size"),
        ({"share": 0}, "share"),
        ({"strength": 2}, "strength"),
    ],
)
def test_wrong_options_are_named(options: dict[str, Any], said: str) -> None:
    with pytest.raises(PcvrError, match=said):
        get_attack("wandering", **options)


def test_too_large_a_patch_says_so() -> None:
    with pytest.raises(PcvrError, match="does not fit an image of 9 x 5 px"):
        Wandering(size=6)(noise(5, 9, 3))


def test_a_saved_data_set_keeps_its_places(tmp_path: Path) -> None:
    made = poison(Scenes(20), "wandering", 0.3)
    again = load_poisoned(save_poisoned(made, tmp_path / "set"))
    places = set()
    for index in made.poisoned:
        assert np.array_equal(again[index].image, made[index].image)
        assert isinstance(made.attack.trigger, Wandering)
        rows, columns = made.attack.trigger.window(made.clean[index].image)
        places.add((rows.start, columns.start))
    assert len(places) == len(made.poisoned) == 6
