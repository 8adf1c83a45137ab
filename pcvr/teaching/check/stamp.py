"""Exercise: the BadNets trigger, a square of one colour that replaces or tints the pixels under it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from pcvr.teaching.core import Mistake, ask, exercise

_HEIGHT, _WIDTH = 9, 12  # they differ, so that exchanged axes are visible
_Stamp = Callable[[np.ndarray, int, int, int, float], np.ndarray]
# top, left, size, strength
_CASES = ((5, 2, 3, 0.3), (0, 9, 2, 0.5), (6, 9, 3, 1.0))


@exercise("stamp a trigger on an image")
def stamp(function: Callable[[Any, int, int, int, float], Any]) -> str:
    """Check ``stamp(image, top, left, size, strength)``: a white square on uint8 ``[H, W, 3]``, mixed by `strength`."""
    image = np.random.default_rng(8).integers(0, 256, (_HEIGHT, _WIDTH, 3)).astype(np.uint8)
    for case in _CASES:
        call = "stamp(image, top={}, left={}, size={}, strength={})".format(*case)
        given = image.copy()
        got = _image(ask(function, given, *case, call=call), call)
        if not np.array_equal(given, image):
            raise Mistake(f"{call} changed the image that it was given: the clean data are gone. Work on image.copy().")
        if _near(got, _stamped(image, *case)):
            continue
        for message, wrong in _MISTAKES.items():
            if _near(got, wrong(image, *case)) and not _near(_stamped(image, *case), wrong(image, *case)):
                raise Mistake(message)
        changed = int((got != image).any(-1).sum())
        raise Mistake(
            f"{call} changes {changed} pixels, and not all as expected: (1 - s) x + s 255 in rows {case[0]} to "
            f"{case[0] + case[2] - 1} and columns {case[1]} to {case[1] + case[2] - 1}, nothing elsewhere."
        )
    return "Integers in, integers out, and nothing outside the square has changed. That is all of BadNets' trigger."


def _stamped(image: np.ndarray, top: int, left: int, size: int, strength: float, level: float = 255) -> np.ndarray:
    out = image.astype(float)
    window = out[top : top + size, left : left + size]
    window[...] = (1 - strength) * window + strength * level
    return out


def _near(got: np.ndarray, want: np.ndarray) -> bool:
    """Equal after rounding, whichever way a half is rounded."""
    return bool((np.abs(got.astype(float) - want) <= 0.5 + 1e-6).all())


def _image(value: Any, call: str) -> np.ndarray:
    array = np.asarray(value.tolist() if hasattr(value, "detach") else value)
    if array.shape != (_HEIGHT, _WIDTH, 3):
        raise Mistake(
            f"{call} returns the shape {list(array.shape)}, but the whole image, [{_HEIGHT}, {_WIDTH}, 3], is expected."
        )
    whole = array.dtype == np.uint8 or (hasattr(value, "detach") and array.dtype.kind in "iu")
    if not whole:
        raise Mistake(
            f"{call} returns numbers of type {array.dtype}, but an image has levels from 0 to 255: round with "
            "np.rint, then .astype(np.uint8)."
        )
    return array


def _wrapped(image: np.ndarray, top: int, left: int, size: int, strength: float) -> np.ndarray:
    out = image.astype(int)
    out[top : top + size, left : left + size] += round(strength * 255)
    return out % 256


def _everywhere(image: np.ndarray, top: int, left: int, size: int, strength: float) -> np.ndarray:
    return np.asarray((1 - strength) * image + strength * 255)


_MISTAKES: dict[str, _Stamp] = {
    "Rows and columns are exchanged: the first axis runs down, so index image[top:top + size, left:left + size].": (
        lambda image, top, left, size, s: _stamped(image, left, top, size, s)
    ),
    "The strength is ignored: mix the old levels with white, (1 - s) x + s 255.": (
        lambda image, top, left, size, s: _stamped(image, top, left, size, 1.0)
    ),
    "The strength is reversed: s = 1 replaces the pixels, s = 0 changes nothing.": (
        lambda image, top, left, size, s: _stamped(image, top, left, size, 1 - s)
    ),
    "Levels above 255 start again at 0, since uint8 wraps around: multiply the old levels by (1 - s) first.": _wrapped,
    "The whole image is changed: change the square alone.": _everywhere,
    "The square is one pixel too large: a slice ends before its second number.": (
        lambda image, top, left, size, s: _stamped(image, top, left, size + 1, s)
    ),
    "The square is one pixel too small: a slice ends before its second number.": (
        lambda image, top, left, size, s: _stamped(image, top, left, size - 1, s)
    ),
    "Nothing has changed: the square is never written into the image that you return.": (
        lambda image, top, left, size, s: image.astype(float)
    ),
    "The square is black: white has the level 255 in all three channels.": (
        lambda image, top, left, size, s: _stamped(image, top, left, size, s, 0)
    ),
    "White is the level 255 here, not 1.": (lambda image, top, left, size, s: _stamped(image, top, left, size, s, 1)),
    "Only one of the three channels is changed: white is 255 in all of them.": (
        lambda image, top, left, size, s: np.concatenate(
            [_stamped(image, top, left, size, s)[..., :1], image[..., 1:].astype(float)], -1
        )
    ),
    "The levels are cut off, not rounded: astype(np.uint8) drops the decimals, so use np.rint first.": (
        lambda *case: np.floor(_stamped(*case) + 1e-9)
    ),
}
