"""Sprites: each kind of object at a few sizes, cached, and drawn on an image in any colour."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
from PIL import Image as PilImage
from PIL import ImageFilter

from pcvr.data.scenes.kinds import DRAWINGS
from pcvr.data.scenes.pen import Pen

SIZE_PX = 96
"""Side of an image in pixels."""

SIZES = {"small": (24, 28), "large": (36, 44)}
"""Name of a size to the range of an object's longer side in pixels, both ends included."""

PAD = 3
"""Border in pixels around an object for its soft shadow; also the free margin at the image's edge."""

SHADOW = 0.3
"""Fraction of the light that the shadow absorbs where it is darkest."""


@dataclass(frozen=True)
class Sprite:
    """One kind at one size, without colour; all arrays have a border of `PAD` pixels.

    Attributes:
        keep: float32 ``[h, w, 1]`` in 0..1, the fraction of the background that stays visible.
        tint: float32 ``[h, w, 1]`` in 0..1, the fraction of the body colour that shows.
        base: float32 ``[h, w, 3]`` in 0..255, light that does not depend on the body colour.
    """

    keep: np.ndarray
    tint: np.ndarray
    base: np.ndarray

    @property
    def width(self) -> int:
        """Width of the object in pixels, without the border."""
        return int(self.keep.shape[1]) - 2 * PAD

    @property
    def height(self) -> int:
        """Height of the object in pixels, without the border."""
        return int(self.keep.shape[0]) - 2 * PAD


@cache
def _drawing(kind: str, outline_tenths: int) -> Pen:
    """Draw a kind on the large canvas with an outline (in tenths of a unit), cropped to its paint."""
    if outline_tenths == 0:
        pen = Pen()
        DRAWINGS[kind](pen)
        return pen
    pen = _drawing(kind, 0).copy()
    pen.outline(outline_tenths / 10)
    box = pen.alpha.getbbox()
    assert box is not None, "a drawing is never empty"
    pen.alpha, pen.tint, pen.base = pen.alpha.crop(box), pen.tint.crop(box), pen.base.crop(box)
    return pen


@cache
def sprite(kind: str, side: int, mirrored: bool) -> Sprite:
    """Return the sprite of ``kind`` whose longer side is ``side`` pixels; it is cached."""
    if mirrored:
        plain = sprite(kind, side, False)
        return Sprite(*(np.ascontiguousarray(layer[:, ::-1]) for layer in (plain.keep, plain.tint, plain.base)))
    # About one pixel of outline at either size.
    pen = _drawing(kind, 26 if side > 32 else 36)
    wide, high = pen.alpha.size
    scale = side / max(wide, high)
    size = (max(1, round(wide * scale)), max(1, round(high * scale)))
    alpha = np.asarray(pen.alpha, dtype=np.float32)[:, :, None] / 255
    # Colours are weighted by opacity before the reduction, or the empty canvas would darken every edge.
    tint = _reduce(np.asarray(pen.tint, dtype=np.float32)[:, :, None] / 255 * alpha, size)
    base = _reduce(np.asarray(pen.base, dtype=np.float32) * alpha, size)
    solid = _reduce(alpha, size)
    shade = PilImage.fromarray((solid[:, :, 0] * 255).astype(np.uint8)).filter(ImageFilter.GaussianBlur(1.1))
    shadow = np.zeros_like(solid)  # light from the upper left: the shadow falls 2 px down and 1 px to the right
    shadow[2:, 1:, 0] = np.asarray(shade, dtype=np.float32)[:-2, :-1] / 255
    shadow[shadow < 0.02] = 0  # less than one level of 255
    return Sprite((1 - solid) * (1 - SHADOW * shadow), tint, base)


def _reduce(layer: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Average a layer ``[H, W, C]`` down to ``size`` (width, height) and add the border of `PAD` pixels."""
    images = [PilImage.fromarray(layer[:, :, channel]) for channel in range(layer.shape[2])]
    planes = [np.asarray(image.resize(size, PilImage.Resampling.BOX)) for image in images]
    return np.pad(np.stack(planes, axis=2), ((PAD, PAD), (PAD, PAD), (0, 0))).astype(np.float32)


def lay(picture: np.ndarray, shape: Sprite, x: int, y: int, color: tuple[int, int, int]) -> None:
    """Draw a sprite on ``picture`` (float32 ``[H, W, 3]``, changed in place), its object's corner at ``(x, y)``."""
    high, wide = shape.keep.shape[:2]
    window = picture[y - PAD : y - PAD + high, x - PAD : x - PAD + wide]
    window *= shape.keep
    window += shape.base
    window += shape.tint * np.asarray(color, dtype=np.float32)
