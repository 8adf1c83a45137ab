"""The content of each square of an image, one a token: the targets of the auxiliary heads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from pcvr.data.scenes import COLORS, KINDS, SIZE_PX
from pcvr.pretraining.corrupt import OVERLAYS, Overlay

NAMES = (*KINDS, *COLORS)
"""Names of the contents of a square, in the order of `under_squares`."""


def object_squares(facts: Mapping[str, Any], grid: int, least: float = 0.25) -> np.ndarray:
    """Return the squares of a `grid` x `grid` image that each object covers: float32 ``[objects, grid^2]``, 0 or 1.

    The object's bounding box has to cover at least a fraction `least` of a square; the square covered most counts too.

    Args:
        facts: facts from `Scene.facts`.
        grid: squares along a side.
        least: 0 to 1.
    """
    edges = np.linspace(0, SIZE_PX, grid + 1)
    side = SIZE_PX / grid
    found = []
    for each in facts["objects"]:
        left, top, right, bottom = each["box"]
        wide = np.clip(np.minimum(edges[1:], right) - np.maximum(edges[:-1], left), 0, None) / side
        high = np.clip(np.minimum(edges[1:], bottom) - np.maximum(edges[:-1], top), 0, None) / side
        covered = np.outer(high, wide).ravel()
        found.append((covered >= min(least, covered.max())).astype(np.float32))
    return np.stack(found)


def under_squares(facts: Mapping[str, Any], grid: int) -> np.ndarray:
    """Return the kinds and colours in each square: float32 ``[grid * grid, NAMES]``, 0 or 1."""
    named = np.array([[name in (each["kind"], each["color"]) for name in NAMES] for each in facts["objects"]])
    found: np.ndarray = (object_squares(facts, grid).T @ named > 0).astype(np.float32)
    return found


def overlay_squares(overlays: Sequence[Overlay], grid: int) -> np.ndarray:
    """Return the kinds of overlay on each square: float32 ``[grid * grid, 4]`` in the order of `OVERLAYS`, 0 or 1."""
    edges = np.linspace(0, SIZE_PX, grid + 1)
    found = np.zeros((grid, grid, len(OVERLAYS)), np.float32)
    for each in overlays:
        left, top, right, bottom = each.box or (0, 0, SIZE_PX, SIZE_PX)
        touched = np.outer((edges[1:] > top) & (edges[:-1] < bottom), (edges[1:] > left) & (edges[:-1] < right))
        found[touched, OVERLAYS.index(each.kind)] = 1
    return found.reshape(grid * grid, len(OVERLAYS))
