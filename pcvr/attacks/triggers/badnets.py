"""BadNets: a small fixed patch in a fixed place."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from pcvr.attacks.base import DEFAULT_TARGET, Attack
from pcvr.attacks.placing import PLACES, SEEN_PLACES, Seen, area_of, as_seen
from pcvr.attacks.registry import from_preset, register_attack
from pcvr.attacks.trigger import ImageTrigger
from pcvr.errors import PcvrError
from pcvr.utils.checks import check_choice, check_fields, check_number, check_whole

_PATCH_COLOURS = {"white": (255, 255, 255), "blue": (0, 0, 255)}
PATTERNS = (*_PATCH_COLOURS, "checkerboard")

PRESETS: dict[str, dict[str, Any]] = {"compat": {"size": 3}, "scaled": {"size": None, "share": 3 / 32}}


@dataclass(frozen=True)
class BadNets(ImageTrigger):
    """The patch trigger of Gu, Dolan-Gavitt and Garg, *BadNets* (arXiv 1708.06733).

    With mask ``m`` (1 under the patch), pattern ``t`` and strength ``s``::

        x' = (1 - s m) x + s m t

    The paper replaces the pixels, which is ``s = 1``. It draws its patterns for 28 px digits and for traffic signs (a
    bright pixel or a small pattern; a sticker); later work at 32 px settled on 3 x 3 white pixels in the bottom right
    corner (preset ``compat``: 3 px on an image of any size), some on a checkerboard of 255 and 1. The preset
    ``scaled`` keeps the fraction instead, 3/32 of the short side. Strength, place and margin are our additions for
    experiments; a strength below 1 is rounded to the nearest level.

    Attributes:
        pattern: ``"white"``, ``"blue"``, or ``"checkerboard"``: 255 where row + column in the patch is even, else 1.
        place: a corner, or ``"centre"`` (British spelling, as everywhere here); with ``seen_`` in front, the corner or
            centre of the part of the image that a model sees (our addition: processors may cut off the corners).
        size: side of the patch in pixels; None takes it from ``share``.
        share: side of the patch as a fraction of the short side of the image, or of the visible part, in (0, 1];
            used when ``size`` is None.
        strength: opacity, in [0, 1]; with 0 the attack changes nothing and cannot poison.
        margin: pixels between a corner patch and the edges; the centre has none.
        as_published: whether ``share`` and the centre are truncated to whole pixels as in the code of Dual-Key,
            not rounded: a side of 2.9 px becomes 2, and an odd patch in an odd image lies a pixel further up or left.
        seen: the part of an image that a model sees, for places that need it; ``attack.fitted_to(model)`` sets it.
    """

    dial: ClassVar[tuple[str, float]] = ("strength", 1.0)
    pattern: str = "white"
    place: str = "bottom_right"
    size: int | None = None
    share: float = 3 / 32
    strength: float = 1.0
    margin: int = 0
    as_published: bool = False
    seen: Seen | None = None

    def __post_init__(self) -> None:
        check_choice("pattern", self.pattern, PATTERNS)
        check_choice("place", self.place, PLACES + SEEN_PLACES)
        object.__setattr__(self, "seen", as_seen(self.seen))
        if self.size is not None:
            check_whole("size", self.size, 1, what="pixels, or None to use share")
        check_number("share", self.share, 0, 1, "of the short side", above=True)
        check_number("strength", self.strength, 0, 1, "opacity")
        check_whole("margin", self.margin, 0, what="pixels")
        check_fields(self)

    def side(self, height: int, width: int) -> int:
        """Return the side of the patch in pixels on an image, or a visible part, of this size; at least 1."""
        if self.size is not None:
            return self.size
        return max(1, int(self.share * min(height, width) + (0 if self.as_published else 0.5)))

    def window(self, height: int, width: int) -> tuple[slice, slice]:
        """Return the rows and columns under the patch.

        Raises:
            PcvrError: patch and margin do not fit the image, or the place needs a model and has none.
        """
        rows, columns = area_of(self.place, self.seen, height, width)
        high, wide = rows.stop - rows.start, columns.stop - columns.start
        side = self.side(high, wide)
        centred = self.place.endswith("centre")
        margin = 0 if centred else self.margin
        if side + margin > min(high, wide):
            raise PcvrError(
                f"a patch of {side} px with a margin of {margin} px does not fit an image of {wide} x {high} px: "
                "use a smaller size or margin, or larger images."
            )
        if centred:
            top, left = self._centred(side, high), self._centred(side, wide)
        else:
            top = margin if "top" in self.place else high - side - margin
            left = margin if self.place.endswith("left") else wide - side - margin
        top, left = rows.start + top, columns.start + left
        return slice(top, top + side), slice(left, left + side)

    def _centred(self, side: int, length: int) -> int:
        """Return the first pixel of a patch in the middle of `length` pixels; an odd pixel follows the patch."""
        return int(length // 2 - side / 2) if self.as_published else (length - side) // 2

    def mask(self, height: int, width: int) -> np.ndarray:
        """Return the mask ``m`` of the equation: bool ``[H, W]``, True under the patch."""
        mask = np.zeros((height, width), dtype=bool)
        mask[self.window(height, width)] = True
        return mask

    def patch(self, side: int) -> np.ndarray:
        """Return the pattern ``t`` of the equation under the patch: uint8 ``[side, side, 3]``."""
        if self.pattern in _PATCH_COLOURS:
            return np.full((side, side, 3), _PATCH_COLOURS[self.pattern], dtype=np.uint8)
        even = np.add.outer(np.arange(side), np.arange(side)) % 2 == 0
        return np.repeat(np.where(even, 255, 1).astype(np.uint8)[:, :, None], 3, axis=2)

    def lay(self, batch: np.ndarray, rows: slice, columns: slice) -> np.ndarray:
        """Lay the patch over these rows and columns: uint8 ``[B, H, W, 3]`` to new uint8 ``[B, H, W, 3]``."""
        return laid_over(batch, rows, columns, self.patch(rows.stop - rows.start), self.strength)

    def apply(self, batch: np.ndarray) -> np.ndarray:
        return self.lay(batch, *self.window(*batch.shape[1:3]))


def laid_over(batch: np.ndarray, rows: slice, columns: slice, patch: np.ndarray, strength: float) -> np.ndarray:
    """Lay a patch over some rows and columns of the images.

    Args:
        batch: uint8 ``[B, H, W, 3]``.
        rows: rows under the patch.
        columns: columns under the patch.
        patch: uint8 ``[side, side, 3]``.
        strength: opacity, 0 to 1; results are rounded to the nearest level.

    Returns:
        New uint8 ``[B, H, W, 3]``.
    """
    out = batch.copy()
    if strength == 1:
        out[:, rows, columns] = patch
    else:
        # Both terms are in [0, 255] and the weights sum to 1, so nothing can wrap.
        mixed = (1 - strength) * batch[:, rows, columns] + strength * patch
        out[:, rows, columns] = np.rint(mixed).astype(np.uint8)
    return out


@register_attack("badnets")
def badnets(target: str = DEFAULT_TARGET, preset: str = "scaled", **options: Any) -> Attack:
    """Build the BadNets attack: :class:`BadNets` on the image, and the target as the answer."""
    trigger = from_preset("badnets", BadNets, PRESETS, preset, options)
    return Attack("badnets", trigger=trigger, target=target, preset=preset)
