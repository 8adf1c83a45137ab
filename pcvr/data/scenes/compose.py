"""User-made scenes: objects, background and stamped squares from plain values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import numpy as np

from pcvr.data.pictures import UNREADABLE, open_picture, rgb_array
from pcvr.data.sample import Image
from pcvr.data.scenes.background import BACKGROUNDS, Background, draw_background
from pcvr.data.scenes.kinds import COLORS, KINDS
from pcvr.data.scenes.language import with_article
from pcvr.data.scenes.objects import SceneObject
from pcvr.data.scenes.scene import Scene
from pcvr.data.scenes.sprites import PAD, SIZE_PX, SIZES, sprite
from pcvr.errors import PcvrError
from pcvr.utils.checks import check_choice, check_seed

MOST = 3
"""Maximum number of objects in a drawing: the models have never seen more."""
STAMP = 8
"""Stamped squares along a side of an image, of 12 pixels each."""
INKS: Mapping[str, tuple[int, int, int]] = {**COLORS, "black": (20, 20, 24)}
"""Colours of stamped squares, RGB 0..255."""
LONGEST = 2048
"""Uploaded images are reduced to at most this many pixels along the longer side."""


@dataclass(frozen=True)
class Thing:
    """One object of a drawing.

    Attributes:
        kind: one of `pcvr.data.scenes.KINDS`.
        color: one of `pcvr.data.scenes.COLORS`.
        size: ``"small"`` or ``"large"``.
        x, y: its centre in percent of the image, from the left and the top; objects are kept inside the image.
        mirrored: whether it is mirrored left to right.
    """

    kind: str
    color: str
    size: str = "large"
    x: float = 50
    y: float = 50
    mirrored: bool = False

    def __post_init__(self) -> None:
        for what, given, known in (
            ("kind", self.kind, KINDS),
            ("colour", self.color, COLORS),
            ("size", self.size, SIZES),
        ):
            check_choice(what, given, known)
        for axis, place in (("x", self.x), ("y", self.y)):
            if not 0 <= place <= 100:
                raise PcvrError(f"{axis} is {place}: give percent of the image, 0 to 100.")


@dataclass(frozen=True)
class Drawing:
    """A user's image and the facts about it.

    Attributes:
        picture: uint8 ``[H, W, 3]``, RGB.
        facts: ``objects`` from left to right and ``background``, as for a scene; empty for uploads.
        answers: prompts and questions to their correct answers, for drawings of the kind that the models know.
        notes: differences to the images that the models were trained on, a sentence each.
    """

    picture: Image
    facts: Mapping[str, Any]
    answers: Mapping[str, str]
    notes: tuple[str, ...] = ()


def compose(things: Sequence[Thing], background: str = "plain", seed: int = 0) -> Drawing:
    """Draw up to three objects on a background; later objects cover earlier ones.

    Args:
        things: the objects, in drawing order.
        background: one of `pcvr.data.scenes.background.BACKGROUNDS`.
        seed: seed of the background's tones.

    Raises:
        PcvrError: too many objects, or an unknown background.
    """
    if len(things) > MOST:
        raise PcvrError(f"a drawing has {len(things)} objects, and at most {MOST} are drawn: leave some out.")
    check_choice("background", background, BACKGROUNDS)
    behind = _background(background, seed)
    laid = tuple(_placed(thing) for thing in things)
    objects = tuple(sorted(laid, key=lambda each: each.cx))
    scene = Scene(objects, behind, seed)
    notes = _notes(objects)
    usual = len(objects) >= 2 and len({each.kind for each in objects}) == len(objects)
    answers = _answers(scene) if usual else {}
    picture = replace(scene, objects=laid).picture()
    return Drawing(picture, scene.facts(), answers, notes)


def stamped(drawing: Drawing, squares: Mapping[int, str]) -> Drawing:
    """Return a copy of the drawing with squares painted over it.

    Args:
        drawing: from `compose` or `uploaded`.
        squares: number of a square, 0 to 63 in reading order, to one of `INKS`.

    Raises:
        PcvrError: an unknown square or colour.
    """
    if not squares:
        return drawing
    picture = drawing.picture.copy()
    down, across = (np.linspace(0, side, STAMP + 1).round().astype(int) for side in picture.shape[:2])
    for square, ink in squares.items():
        if not 0 <= square < STAMP**2:
            raise PcvrError(f"square {square} does not exist: give a number from 0 to {STAMP**2 - 1}.")
        check_choice("colour", ink, INKS)
        row, column = divmod(square, STAMP)
        picture[down[row] : down[row + 1], across[column] : across[column + 1]] = INKS[ink]
    return replace(drawing, picture=picture, notes=(*drawing.notes, "squares are stamped on it"))


def uploaded(content: bytes) -> Drawing:
    """Return an image file as a drawing, its EXIF orientation applied, with at most 2048 pixels on the longer side.

    Raises:
        PcvrError: it cannot be read as an image.
    """
    try:
        upright = open_picture(content)
        upright.thumbnail((LONGEST, LONGEST))
        picture = rgb_array(upright)
    except PcvrError:
        raise
    except UNREADABLE as problem:
        raise PcvrError(
            f"the uploaded file cannot be read as an image ({type(problem).__name__}): take a PNG or a JPEG."
        ) from problem
    return Drawing(picture, {}, {}, ("it is an image from outside",))


def _placed(thing: Thing) -> SceneObject:
    low, high = SIZES[thing.size]
    side = (low + high) // 2
    shape = sprite(thing.kind, side, thing.mirrored)
    x, y = (
        int(np.clip(round(SIZE_PX * percent / 100 - length / 2), PAD, SIZE_PX - PAD - length))
        for percent, length in ((thing.x, shape.width), (thing.y, shape.height))
    )
    rgb = COLORS[thing.color]
    return SceneObject(thing.kind, thing.color, thing.size, rgb, x, y, shape.width, shape.height, side, thing.mirrored)


@cache
def _background(family: str, seed: int) -> Background:
    """Return a background of the family with tones from the scenes' distribution."""
    check_seed(seed)
    rng = np.random.Generator(np.random.Philox(seed))
    found = draw_background(rng)
    while found.family != family:
        found = draw_background(rng)
    return found


def _answers(scene: Scene) -> dict[str, str]:
    """Return every telegram and question about the scene, plus the questions for each kind and each object's colour."""
    found = dict(scene.telegrams()) | {question: answer for group in scene.questions() for question, answer in group}
    there = {each.kind: each.color for each in scene.objects}
    found |= {f"is there {with_article(kind)}?": "yes" if kind in there else "no" for kind in KINDS}
    return found | {
        f"is the {kind} {c}?": "yes" if c == color else "no" for kind, color in there.items() for c in COLORS
    }


def _notes(objects: Sequence[SceneObject]) -> tuple[str, ...]:
    notes = []
    if len(objects) < 2:
        notes.append(f"it has {len(objects) or 'no'} object{'' if len(objects) == 1 else 's'}, not two or three")
    if len({each.kind for each in objects}) < len(objects):
        notes.append("a kind of object is there twice")
    if any(_overlap(one, other) for i, one in enumerate(objects) for other in objects[:i]):
        notes.append("objects overlap")
    return tuple(notes)


def _overlap(one: SceneObject, other: SceneObject) -> bool:
    return (
        one.x < other.x + other.width
        and other.x < one.x + one.width
        and one.y < other.y + other.height
        and other.y < one.y + one.height
    )
