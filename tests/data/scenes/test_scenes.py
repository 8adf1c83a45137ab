"""The embedded data set: pictures, splits, bad arguments and speed."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pcvr.data.sample import Dataset
from pcvr.data.scenes import COLORS, KINDS, SIZE_PX, Scene, Scenes
from pcvr.data.scenes.background import BACKGROUNDS
from pcvr.data.scenes.layout import GAP, SPLITS, split_of
from pcvr.data.scenes.sprites import PAD, SIZES, sprite
from pcvr.errors import PcvrError

positions = st.integers(0, 4000)
seeds = st.integers(0, 2**40)
splits = st.sampled_from(SPLITS)


def scene_at(seed: int, split: str, index: int) -> Scene:
    return Scenes(5000, split=split, seed=seed).scene(index)


def pairs_of(scene: Scene) -> frozenset[tuple[str, str]]:
    return frozenset((each.color, each.kind) for each in scene.objects)


def test_a_sample_has_every_part() -> None:
    data = Scenes(10)
    sample = data[3]
    assert isinstance(data, Dataset)
    assert (data.name, data.task, len(data)) == ("scenes", "caption", 10)
    assert sample.image.shape == (SIZE_PX, SIZE_PX, 3)
    assert sample.image.dtype == np.uint8
    assert sample.prompt == "describe the image."
    assert len(sample.references) == 5
    assert sample.answer in sample.references
    assert set(sample.facts) == {"objects", "background"}
    assert {"kind", "color", "size", "place"} <= set(sample.facts["objects"][0])


def test_vqa_shows_the_same_pictures_with_one_question_each() -> None:
    captions, asked = Scenes(40), Scenes(40, task="vqa")
    for index in range(40):
        sample, same = asked[index], captions[index]
        assert np.array_equal(sample.image, same.image)
        assert sample.facts == same.facts
        assert sample.references == (sample.answer,)
        assert (sample.prompt, sample.answer) in sum(captions.scene(index).questions(), ())
        assert sample.id != same.id


@given(seeds, splits, positions)
@settings(max_examples=25, deadline=None)
def test_the_same_arguments_give_the_same_sample(seed: int, split: str, index: int) -> None:
    one, other = Scenes(5000, split, seed)[index], Scenes(4001, split, seed)[index]
    assert np.array_equal(one.image, other.image)
    assert (one.id, one.answer, one.references, one.facts) == (other.id, other.answer, other.references, other.facts)


def test_seeds_and_indices_give_different_pictures() -> None:
    pictures = {Scenes(30, seed=seed)[index].image.tobytes() for seed in (0, 1) for index in range(30)}
    assert len(pictures) == 60


def test_ids_are_unique() -> None:
    ids = [Scenes(5, split, seed)[index].id for split in SPLITS for seed in (0, 1) for index in range(5)]
    assert len(set(ids)) == len(ids)


def test_no_set_of_coloured_objects_is_in_two_splits() -> None:
    seen = {}
    for split in SPLITS:
        seen[split] = {pairs_of(scene_at(seed, split, index)) for seed in (0, 7) for index in range(400)}
    assert seen["train"].isdisjoint(seen["test"])
    assert seen["train"].isdisjoint(seen["validation"])
    assert seen["validation"].isdisjoint(seen["test"])


@given(seeds, splits, positions)
@settings(max_examples=40, deadline=None)
def test_the_content_decides_the_split_whatever_its_order(seed: int, split: str, index: int) -> None:
    pairs = sorted(pairs_of(scene_at(seed, split, index)))
    assert split_of(pairs) == split == split_of(reversed(pairs))


def test_the_splits_share_all_contents_about_eight_to_one_to_one() -> None:
    every = [(color, kind) for color in COLORS for kind in KINDS]
    found = [split_of((one, other)) for i, one in enumerate(every) for other in every[:i] if one[1] != other[1]]
    shares = [found.count(split) / len(found) for split in SPLITS]
    assert shares == pytest.approx([0.8, 0.1, 0.1], abs=0.02)


@given(seeds, splits, positions)
@settings(max_examples=80, deadline=None)
def test_objects_lie_inside_and_apart_and_in_order(seed: int, split: str, index: int) -> None:
    objects = scene_at(seed, split, index).objects
    assert 2 <= len(objects) <= 3
    assert len({each.kind for each in objects}) == len(objects)
    assert [each.cx for each in objects] == sorted(each.cx for each in objects)
    for place, each in enumerate(objects):
        x0, y0, x1, y1 = each.box
        assert PAD <= x0 < x1 <= SIZE_PX - PAD
        assert PAD <= y0 < y1 <= SIZE_PX - PAD
        low, high = SIZES[each.size]
        assert low <= max(x1 - x0, y1 - y0) == each.side <= high
        assert all(abs(channel - named) <= 24 for channel, named in zip(each.rgb, COLORS[each.color], strict=True))
        for other in objects[:place]:
            a0, b0, a1, b1 = other.box
            assert x0 - a1 >= GAP or a0 - x1 >= GAP or y0 - b1 >= GAP or b0 - y1 >= GAP


@given(seeds, positions)
@settings(max_examples=25, deadline=None)
def test_each_object_shows_its_colour_inside_its_box(seed: int, index: int) -> None:
    scene = scene_at(seed, "train", index)
    picture = scene.picture().astype(int)
    for each in scene.objects:
        x0, y0, x1, y1 = each.box
        near = np.abs(picture[y0:y1, x0:x1] - np.array(each.rgb)).max(axis=-1) <= 3
        assert near.mean() > 0.06, each.kind


def test_drawing_changes_nothing_away_from_the_objects() -> None:
    for index in range(20):
        scene = scene_at(0, "train", index)
        away = np.ones((SIZE_PX, SIZE_PX), dtype=bool)
        for each in scene.objects:
            x0, y0, x1, y1 = each.box
            away[y0 - PAD : y1 + PAD, x0 - PAD : x1 + PAD] = False
        plain = Scene((), scene.background, scene.voice).picture()
        assert np.array_equal(scene.picture()[away], plain[away])


@pytest.mark.parametrize("kind", KINDS)
def test_sprites_fill_their_box_and_are_well_apart_from_each_other(kind: str) -> None:
    shape = sprite(kind, 40, False)
    solid = 1 - shape.keep[PAD:-PAD, PAD:-PAD, 0]
    assert max(shape.width, shape.height) == 40
    assert solid.max() == pytest.approx(1, abs=1e-3)
    for edge in (solid[0], solid[-1], solid[:, 0], solid[:, -1]):
        assert edge.max() > 0.1
    assert (shape.base >= 0).all()
    assert (shape.tint <= 1 + 1e-5).all()
    flipped = sprite(kind, 40, True)
    assert np.array_equal(flipped.base, shape.base[:, ::-1])
    bodies = {other: _square(sprite(other, 40, False).keep[:, :, 0]) for other in KINDS}
    assert all(np.abs(bodies[kind] - bodies[other]).mean() > 0.03 for other in KINDS if other != kind)


def _square(keep: np.ndarray) -> np.ndarray:
    canvas = np.ones((48, 48), dtype=np.float32)
    canvas[: keep.shape[0], : keep.shape[1]] = keep
    return canvas


def test_everything_occurs_about_equally_often() -> None:
    scenes = [scene_at(0, "train", index) for index in range(800)]
    objects = [each for scene in scenes for each in scene.objects]
    tallies: list[tuple[Collection[object], list[object]]] = [
        (KINDS, [each.kind for each in objects]),
        (COLORS, [each.color for each in objects]),
        (BACKGROUNDS, [scene.background.family for scene in scenes]),
        ((2, 3), [len(scene.objects) for scene in scenes]),
        (SIZES, [each.size for each in objects]),
    ]
    for names, found in tallies:
        shares = [found.count(name) / len(found) for name in names]
        assert sum(shares) == pytest.approx(1)
        assert min(shares) > 0.6 / len(shares)
    for axis in ("column", "row"):
        assert len({getattr(each, axis) for each in objects}) == 3


def test_backgrounds_are_muted() -> None:
    for index in range(60):
        plain = Scene((), scene_at(0, "train", index).background, 0).picture().reshape(-1, 3).mean(axis=0)
        assert np.ptp(plain) < 0.2 * plain.max()


def test_indices_count_from_the_end_and_stop_there() -> None:
    data = Scenes(12)
    assert data[-1].id == data[11].id == data[np.int64(11)].id
    for outside in (12, -13):
        with pytest.raises(IndexError, match="length 12"):
            data[outside]
    assert len(list(data)) == 12  # type: ignore[call-overload]


def test_the_fingerprint_tells_the_arguments_apart() -> None:
    variants = [Scenes(), Scenes(n=5), Scenes(split="test"), Scenes(seed=1), Scenes(task="vqa")]
    assert len({each.fingerprint() for each in variants}) == len(variants)
    assert Scenes().fingerprint() == Scenes().fingerprint()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"split": "trian"}, "did you mean 'train'"),
        ({"task": "captions"}, "did you mean 'caption'"),
        ({"n": 0}, "n is 0"),
        ({"n": 2.5}, "n is 2.5"),
        ({"n": True}, "n is True"),
        ({"seed": -1}, "seed is -1"),
    ],
)
def test_bad_arguments_are_named(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(PcvrError, match=message):
        Scenes(**arguments)  # type: ignore[arg-type]


def test_a_scene_takes_less_than_forty_thousand_multiplications() -> None:
    """About two milliseconds; in units of work, since machines differ and are busy: of each the quickest of 15."""
    data = Scenes(1000)
    for index in range(700, 1000):  # the sprites are drawn once, before the clock starts
        data[index]

    def seconds(work: Callable[[], object]) -> float:
        start = time.process_time()
        work()
        return time.process_time() - start

    parts = [range(start, start + 20) for start in range(0, 300, 20)]
    scene = min(seconds(lambda part=part: [data[index] for index in part]) for part in parts) / 20  # type: ignore[misc]
    assert scene < min(seconds(lambda: sum(i * i for i in range(40_000))) for _ in parts)
