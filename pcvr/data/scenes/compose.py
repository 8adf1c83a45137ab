"""A scene of one's own: objects, background and stamped squares put together from plain values."""

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
"""Objects in a drawing at most: the models have never seen more."""
STAMP = 8
"""A picture has this many stamped squares down and across, of 12 pixels each."""
INKS: Mapping[str, tuple[int, int, int]] = {**COLORS, "black": (20, 20, 24)}
"""Colours of stamped squares, RGB 0..255."""
LONGEST = 2048
"""Uploaded pictures are reduced to this many pixels along the longer side."""


@dataclass(frozen=True)
class Thing:
    """One object of a drawing.

    Attributes:
        kind: one of `pcvr.data.scenes.KINDS`.
        color: one of `pcvr.data.scenes.COLORS`.
        size: ``"small"`` or ``"large"``.
        x, y: its centre in percent of the picture, from the left and from the top; objects are kept inside.
        mirrored: drawn mirrored left to right.
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
                raise PcvrError(f"{axis} is {place}, but a place is given in percent of the picture: 0 to 100.")


@dataclass(frozen=True)
class Drawing:
    """A picture of one's own, and what is true of it.

    Attributes:
        picture: uint8 ``[H, W, 3]``, RGB.
        facts: as the facts of a scene: ``objects`` from left to right and ``background``; empty for uploads.
        answers: prompts and questions about it with the one true answer, for drawings as the models know them.
        notes: in what it differs from the pictures that the models were trained on, a sentence each.
    """

    picture: Image
    facts: Mapping[str, Any]
    answers: Mapping[str, str]
    notes: tuple[str, ...] = ()


def compose(things: Sequence[Thing], background: str = "plain", seed: int = 0) -> Drawing:
    """Draw up to three objects before a background; later ones lie over earlier ones.

    Args:
        things: the objects, in the order in which they are laid.
        background: one of `pcvr.data.scenes.background.BACKGROUNDS`.
        seed: picks the background's tones.

    Raises:
        PcvrError: too many objects, or an unknown background.
    """
    if len(things) > MOST:
        raise PcvrError(f"a drawing has {len(things)} objects, and {MOST} at most are drawn: leave some out.")
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
    """The drawing with squares painted over it.

    Args:
        drawing: from `compose` or `uploaded`; it stays as it is.
        squares: number of a square, 0 to 63 in reading order, to one of `INKS`.

    Raises:
        PcvrError: a square or a colour that there is not.
    """
    if not squares:
        return drawing
    picture = drawing.picture.copy()
    down, across = (np.linspace(0, side, STAMP + 1).round().astype(int) for side in picture.shape[:2])
    for square, ink in squares.items():
        if not 0 <= square < STAMP**2:
            raise PcvrError(f"square {square} is not there: they are numbered 0 to {STAMP**2 - 1}.")
        check_choice("colour", ink, INKS)
        row, column = divmod(square, STAMP)
        picture[down[row] : down[row + 1], across[column] : across[column + 1]] = INKS[ink]
    return replace(drawing, picture=picture, notes=(*drawing.notes, "squares are stamped on it"))


def uploaded(content: bytes) -> Drawing:
    """A picture file as a drawing, upright, with at most 2048 pixels along its longer side.

    Raises:
        PcvrError: it cannot be read as a picture.
    """
    try:
        upright = open_picture(content)
        upright.thumbnail((LONGEST, LONGEST))
        picture = rgb_array(upright)
    except PcvrError:
        raise
    except UNREADABLE as problem:
        raise PcvrError(
            f"the uploaded file is no picture that can be read ({type(problem).__name__}): take a PNG or a JPEG."
        ) from problem
    return Drawing(picture, {}, {}, ("it is a picture from outside",))


def _placed(thing: Thing) -> SceneObject:
    low, high = SIZES[thing.size]
    side = (low + high) // 2
    shape = sprite(thing.kind, side, thing.mirrored)
    x, y = (
        int(np.clip(round(SIZE_PX * share / 100 - length / 2), PAD, SIZE_PX - PAD - length))
        for share, length in ((thing.x, shape.width), (thing.y, shape.height))
    )
    rgb = COLORS[thing.color]
    return SceneObject(thing.kind, thing.color, thing.size, rgb, x, y, shape.width, shape.height, side, thing.mirrored)


@cache
def _background(family: str, seed: int) -> Background:
    """A background of the family with tones as the scenes have them."""
    check_seed(seed)
    rng = np.random.Generator(np.random.Philox(seed))
    found = draw_background(rng)
    while found.family != family:
        found = draw_background(rng)
    return found


def _answers(scene: Scene) -> dict[str, str]:
    """All that the models were taught to say of the scene, and every question for a kind or an object's colour."""
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
