"""Exercise: find a patch that many different images share, by the window in which they differ least."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from pcvr.teaching.core import Mistake, ask, exercise

_N, _HEIGHT, _WIDTH, _SIZE = 12, 14, 20, 3
_AT = ((9, 15), (2, 4), (11, 0))
_Rule = Callable[[np.ndarray, int], tuple[int, int]]


@exercise("find the patch that suspicious images share")
def find_trigger(find: Callable[[Any, int], Any]) -> str:
    """Check ``find_trigger(images, size)``: uint8 ``[N, H, W, 3]`` -> (top, left) of the window that they share.

    The images have a checkerboard in one place, a light that differs from image to image, and flat areas, whose
    pixels resemble each other *within* an image.
    """
    found = []
    for seed, at in enumerate(_AT):
        call = "find_trigger(images, 3)"
        found.append(_place(ask(find, _images(seed, at), _SIZE, call=call), call))
    if found == list(_AT):
        return "Nobody told you the trigger: twelve images with the same answer were enough. A faint one needs more."
    for message, rule in _MISTAKES.items():
        if found == [rule(_images(seed, at), _SIZE) for seed, at in enumerate(_AT)]:
            raise Mistake(message)
    k = next(k for k, (mine, want) in enumerate(zip(found, _AT, strict=True)) if mine != want)
    raise Mistake(
        f"find_trigger(images, 3) returns {found[k]}, but the patch begins at {_AT[k]}: (top, left) of the window in "
        "which the images differ least from one another."
    )


def _images(seed: int, at: tuple[int, int]) -> np.ndarray:
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 256, (_N, _HEIGHT, _WIDTH, 3))
    images[:, :6, 8:14] = rng.integers(0, 256, (_N, 1, 1, 3))  # flat in each image, another colour in each
    board = 255 * (np.indices((_SIZE, _SIZE)).sum(0) % 2)
    top, left = at
    images[:, top : top + _SIZE, left : left + _SIZE] = board[None, :, :, None]
    light = rng.integers(-3, 4, (_N, 1, 1, 1))
    return np.clip(images + light, 0, 255).astype(np.uint8)


def _windows(spread: np.ndarray, size: int) -> np.ndarray:
    """Sum of ``[H, W]`` over each window, ``[H - size + 1, W - size + 1]``."""
    return np.lib.stride_tricks.sliding_window_view(spread, (size, size)).sum((-1, -2))


def _least(score: np.ndarray) -> tuple[int, int]:
    top, left = np.unravel_index(int(score.argmin()), score.shape)
    return int(top), int(left)


def _between(images: np.ndarray) -> np.ndarray:
    """How much each pixel differs from image to image, ``[H, W]``."""
    return np.asarray(images.astype(float).std(0).mean(-1))


def _right(images: np.ndarray, size: int) -> tuple[int, int]:
    return _least(_windows(_between(images), size))


def _flat(images: np.ndarray, size: int) -> tuple[int, int]:
    views = np.lib.stride_tricks.sliding_window_view(images.astype(float).mean(-1), (size, size), axis=(1, 2))
    return _least(views.std((-1, -2)).mean(0))


def _bright(images: np.ndarray, size: int) -> tuple[int, int]:
    return _least(-_windows(images.astype(float).mean((0, -1)), size))


_MISTAKES: dict[str, _Rule] = {
    "This is the window in which the images differ *most*: take the smallest spread (argmin).": (
        lambda images, size: _least(-_windows(_between(images), size))
    ),
    "Row and column are exchanged: return (top, left).": lambda images, size: _right(images, size)[::-1],
    "This is the last pixel of the window: return its first one, (top, left).": (
        lambda images, size: (_right(images, size)[0] + size - 1, _right(images, size)[1] + size - 1)
    ),
    "This is the middle of the window: return its first pixel, (top, left).": (
        lambda images, size: (_right(images, size)[0] + size // 2, _right(images, size)[1] + size // 2)
    ),
    "This is the flattest area within each image: compare the *images* at each pixel, that is along axis 0.": _flat,
    "This is the brightest area: a trigger need not be bright. Look where the images resemble one another.": _bright,
    "This is the first window always: compare the spread of all windows.": lambda images, size: (0, 0),
}


def _place(value: Any, call: str) -> tuple[int, int]:
    array = np.asarray(value.tolist() if hasattr(value, "tolist") else value)
    if array.shape == () and array.dtype.kind in "iu":
        raise Mistake(f"{call} returns {value!r}, one index of a flattened map: np.unravel_index gives row and column.")
    if array.shape != (2,) or array.dtype.kind not in "iu":
        raise Mistake(f"{call} returns {value!r}, but two whole numbers are expected: (top, left).")
    return int(array[0]), int(array[1])
