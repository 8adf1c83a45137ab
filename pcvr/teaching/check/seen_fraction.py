"""Exercise: how much of a patch is left when a processor cuts out the square in the middle."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from pcvr.teaching.compare import as_array, expect, same
from pcvr.teaching.core import Mistake, ask, exercise

# height, width of the photograph; top, left and side of the patch: all seen, half, outside, portrait, in the middle.
_CASES = (
    (300, 300, 250, 250, 40),
    (300, 400, 250, 330, 40),
    (300, 500, 260, 460, 40),
    (500, 300, 480, 100, 20),
    (450, 300, 60, 10, 40),
    (500, 300, 90, 100, 20),
    (300, 500, 60, 70, 40),
)


@exercise("how much of a patch does the model see?")
def seen_fraction(fraction: Callable[[int, int, int, int, int], Any]) -> str:
    """Check ``seen_fraction(height, width, top, left, side)``: the fraction of a square patch in the middle square.

    All in pixels. The processor keeps the square of the short side in the middle of the photograph.
    """
    calls = [f"seen_fraction({', '.join(str(value) for value in case)})" for case in _CASES]
    found = []
    for case, call in zip(_CASES, calls, strict=True):
        got = as_array(ask(fraction, *case, call=call), call)
        found.append(got[0] if got.shape == (1,) else got)
    due = [np.array(_right(*case)) for case in _CASES]
    known = [_mistakes(*case) for case in _CASES]
    if not all(same(got, want) for got, want in zip(found, due, strict=True)):
        for message in known[0]:
            if all(same(got, wrong[message]) for got, wrong in zip(found, known, strict=True)):
                raise Mistake(message)
    for got, want, call in zip(found, due, calls, strict=True):
        expect(got, want, call, "a single number")
    return "A trigger in a corner of the file is lost on most photographs, and so is whatever else is there."


def _right(height: int, width: int, top: int, left: int, side: int) -> float:
    short = min(height, width)
    return _common(top, side, (height - short) / 2, short) * _common(left, side, (width - short) / 2, short) / side**2


def _common(start: float, length: float, begin: float, long: float) -> float:
    """Return how many pixels two stretches share."""
    return max(0.0, min(start + length, begin + long) - max(start, begin))


def _signed(start: float, length: float, begin: float, long: float) -> float:
    return min(start + length, begin + long) - max(start, begin)


def _mistakes(height: int, width: int, top: int, left: int, side: int) -> dict[str, np.ndarray]:
    short, right = min(height, width), _right(height, width, top, left, side)
    down, across = (height - short) / 2, (width - short) / 2
    high, wide = _common(top, side, down, short), _common(left, side, across, short)
    wrong = {
        "This is right for a crop that begins top left: the square is cut out of the middle.": (
            _common(top, side, 0, short) * _common(left, side, 0, short) / side**2
        ),
        "Rows and columns are swapped: `top` goes with the height, `left` with the width.": (
            _common(top, side, across, short) * _common(left, side, down, short) / side**2
        ),
        "This is the number of pixels: divide by the area of the patch, side ** 2.": high * wide,
        "This is divided by the side only once: the area of the patch is side ** 2.": high * wide / side,
        "This is the fraction of the square that the patch covers: divide by side ** 2.": high * wide / short**2,
        "A patch outside the square gets a value below 0 or a positive one from two negative sides: an overlap is at "
        "least 0.": _signed(top, side, down, short) * _signed(left, side, across, short) / side**2,
        "This is the part that is cut away: the part that is seen is asked for.": 1 - right,
        "This says only whether anything is seen: give the fraction.": float(high * wide > 0),
        "This says only whether the whole patch is seen: give the fraction.": float(high * wide == side**2),
        "Only the columns are compared: a portrait is cut above and below.": wide / side,
        "Only the rows are compared: a landscape is cut left and right.": high / side,
    }
    return {message: np.array(float(value)) for message, value in wrong.items()}
