"""Integer arithmetic on uint8 levels that cannot wrap, for triggers that add a fixed pattern.

An image holds integers, so rounding ``x + d`` gives ``x`` plus the rounded ``d``. The pattern is rounded once, and each
pixel needs one saturating addition, which is many times faster than the same formula in floats.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

import numpy as np

_SLIVER = 1e-9  # sin(pi) is not exactly 0 in floats, and must not cost a level
_WORTHWHILE = 1_000_000  # levels that justify a thread
_TOGETHER = (
    1_200_000  # levels in one call: with fewer, threads wait for each other's lock; with more, they leave the cache
)


def truncated(pattern: np.ndarray) -> np.ndarray:
    """Round a real pattern to int16 steps with which :func:`add` gives ``trunc(clip(x + pattern, 0, 255))``.

    After clipping nothing is negative, so truncation is the floor, and ``floor(x + d) = x + floor(d)``.
    """
    return np.clip(np.floor(pattern + _SLIVER), -255, 255).astype(np.int16)


def rounded(pattern: np.ndarray) -> np.ndarray:
    """Round a real pattern to int16 steps with which :func:`add` gives ``clip(round(x + pattern), 0, 255)``, halves
    up."""
    return np.clip(np.floor(pattern + 0.5), -255, 255).astype(np.int16)


def add(batch: np.ndarray, steps: np.ndarray) -> np.ndarray:
    """Compute ``clip(batch + steps, 0, 255)``.

    Args:
        batch: uint8 ``[B, H, W, 3]``.
        steps: integers -255 to 255, ``[H, W, 3]`` or a shape that broadcasts to it.

    Returns:
        New uint8 ``[B, H, W, 3]``.
    """
    full = np.broadcast_to(steps, batch.shape[1:])
    up, down = (np.ascontiguousarray(np.maximum(s, 0), dtype=np.uint8) for s in (full, -full))
    ceiling = 255 - up

    def work(source: np.ndarray, made: np.ndarray) -> None:
        np.minimum(source, ceiling, out=made)
        made += up
        np.maximum(made, down, out=made)
        made -= down

    return by_picture(batch, work)


def by_picture(batch: np.ndarray, work: Callable[[np.ndarray, np.ndarray], None]) -> np.ndarray:
    """Run ``work(images, made)`` over ``batch``, a few images at a time.

    The images of one call stay in the cache. Large batches use every core, since NumPy releases the interpreter's lock.

    Args:
        batch: uint8 ``[B, H, W, 3]``.
        work: reads uint8 ``[b, H, W, 3]`` and fills another; each image's result must not depend on other images.

    Returns:
        New uint8 ``[B, H, W, 3]``.
    """
    out = np.empty(batch.shape, np.uint8)

    at_once = max(1, _TOGETHER // max(1, batch[0].size)) if len(batch) else 1

    def several(part: slice) -> None:
        for start in range(part.start, part.stop, at_once):
            some = slice(start, min(start + at_once, part.stop))
            work(batch[some], out[some])

    workers = min(os.cpu_count() or 1, batch.size // _WORTHWHILE)
    if workers < 2:
        several(slice(0, len(batch)))
        return out
    edges = np.linspace(0, len(batch), workers + 1).astype(int)
    with ThreadPoolExecutor(workers) as pool:
        list(pool.map(several, [slice(low, high) for low, high in pairwise(edges)]))
    return out
