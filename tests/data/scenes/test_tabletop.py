"""Scenes as photographs: many sizes and shapes, always the same, and all that captions name in the middle."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from pcvr import PcvrError
from pcvr.data.scenes.dataset import Scenes
from pcvr.data.scenes.tabletop import SHORT, Tabletop

DATA = Tabletop(24)


def test_pictures_have_many_sizes_and_shapes() -> None:
    sizes = [DATA[i].image.shape[:2] for i in range(24)]
    assert len(set(sizes)) > 12 and all(SHORT[0] <= min(size) <= SHORT[1] for size in sizes)
    assert {np.sign(wide - high) for high, wide in sizes} == {-1, 0, 1}, "portrait, square and landscape"
    assert all(DATA[i].image.dtype == np.uint8 for i in range(3))


def test_a_sample_depends_on_seed_split_and_index_only() -> None:
    one, again = DATA[3], Tabletop(5)[3]
    assert np.array_equal(one.image, again.image) and one.answer == again.answer and one.id == again.id
    assert np.array_equal(one.image, Tabletop(5, task="vqa")[3].image), "questions are about the same photographs"
    for other in (Tabletop(24, "test"), Tabletop(24, seed=1)):
        assert other.fingerprint() != DATA.fingerprint() and not np.array_equal(other[3].image, one.image)


def test_captions_are_true_of_the_photograph() -> None:
    sample, scene = DATA[0], Scenes(24).scene(0)
    assert sample.answer in sample.references and sample.facts["background"] == "grain"
    assert [each["kind"] for each in sample.facts["objects"]] == [each.kind for each in scene.objects]
    # Where an object lies, the middle square has its colour.
    high, wide = sample.image.shape[:2]
    short = min(high, wide)
    top, left, scale = (high - short) // 2, (wide - short) // 2, short / 96
    for each in scene.objects:
        box = sample.image[
            top + round(each.y * scale) : top + round((each.y + each.height) * scale),
            left + round(each.x * scale) : left + round((each.x + each.width) * scale),
        ]
        near = np.abs(box.astype(float) - each.rgb).sum(-1) < 120
        assert near.mean() > 0.1, f"hardly anything {each.color} where the {each.kind} should be"


@pytest.mark.parametrize("options", [{"n": 0}, {"split": "all"}, {"seed": -1}, {"task": "poem"}])
def test_wrong_options(options: dict[str, Any]) -> None:
    with pytest.raises(PcvrError):
        Tabletop(**options)
