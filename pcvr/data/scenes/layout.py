"""Drawing a random scene for a split; no set of coloured objects appears in two splits."""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import blake2b

import numpy as np

from pcvr.data.scenes.background import draw_background
from pcvr.data.scenes.kinds import COLORS, KINDS
from pcvr.data.scenes.objects import SceneObject
from pcvr.data.scenes.scene import Scene
from pcvr.data.scenes.sprites import PAD, SIZE_PX, SIZES, sprite

SPLITS = ("train", "validation", "test")
"""The splits, with 80 %, 10 % and 10 % of all sets of coloured objects."""

GAP = 2
"""Minimum gap between two bounding boxes in pixels."""

CENTRES_APART = 8
"""Minimum horizontal distance of two centres in pixels, so that the order of the objects is visible."""

_NAMES = tuple(COLORS)


def split_of(pairs: Iterable[tuple[str, str]]) -> str:
    """Return the split of a set of ``(color, kind)``; order, places and sizes do not matter.

    So no test image shows the same set of coloured objects as a training image.
    """
    text = " ".join(sorted(f"{color}-{kind}" for color, kind in pairs))
    bucket = int.from_bytes(blake2b(text.encode(), digest_size=8).digest(), "big") % 10
    return SPLITS[max(0, bucket - 7)]


def draw_scene(rng: np.random.Generator, split: str) -> Scene:
    """Draw a random scene of ``split``."""
    pairs = _draw_pairs(rng)
    while split_of(pairs) != split:
        pairs = _draw_pairs(rng)
    objects = _place(rng, pairs)
    while objects is None:
        objects = _place(rng, pairs)
    return Scene(objects, draw_background(rng), int(rng.integers(2**62)))


def _draw_pairs(rng: np.random.Generator) -> list[tuple[str, str]]:
    count = 2 + int(rng.random() < 0.5)
    kinds = rng.permutation(len(KINDS))[:count].tolist()
    colors = rng.integers(len(_NAMES), size=count).tolist()
    return [(_NAMES[color], KINDS[kind]) for color, kind in zip(colors, kinds, strict=True)]


def _place(rng: np.random.Generator, pairs: list[tuple[str, str]]) -> tuple[SceneObject, ...] | None:
    """Draw sizes and places for the objects, sorted from left to right; return None if there is no room."""
    placed: list[SceneObject] = []
    for color, kind in pairs:
        size = "large" if rng.random() < 0.5 else "small"
        low, high = SIZES[size]
        side, mirrored = int(rng.integers(low, high + 1)), bool(rng.random() < 0.5)
        shape = sprite(kind, side, mirrored)
        wide, tall = shape.width, shape.height
        for across, down in rng.random((24, 2)).tolist():
            x = PAD + int(across * (SIZE_PX - 2 * PAD - wide + 1))
            y = PAD + int(down * (SIZE_PX - 2 * PAD - tall + 1))
            if all(_clear(each, x, y, wide, tall) for each in placed):
                break
        else:
            return None
        placed.append(SceneObject(kind, color, size, _vary(rng, color), x, y, wide, tall, side, mirrored))
    return tuple(sorted(placed, key=lambda each: each.cx))


def _clear(each: SceneObject, x: int, y: int, wide: int, tall: int) -> bool:
    """Return whether a box keeps the minimum gap and the minimum distance of centres to ``each``."""
    beside = x >= each.x + each.width + GAP or each.x >= x + wide + GAP
    over = y >= each.y + each.height + GAP or each.y >= y + tall + GAP
    return (beside or over) and abs(x + wide / 2 - each.cx) >= CENTRES_APART


def _vary(rng: np.random.Generator, color: str) -> tuple[int, int, int]:
    """Return the named colour, up to 6 % darker and each channel shifted by up to 8 of 255."""
    dim = 1 - 0.06 * rng.random()
    red, green, blue = (
        int(min(255, max(0, round(channel * dim + shift))))
        for channel, shift in zip(COLORS[color], rng.integers(-8, 9, size=3).tolist(), strict=True)
    )
    return red, green, blue
