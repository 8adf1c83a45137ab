"""BadNets: a small patch, always the same, always in the same place."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from pcvr.attacks.base import DEFAULT_TARGET, Attack, ImageTrigger, from_preset, register
from pcvr.checks import is_number, is_whole
from pcvr.errors import PcvrError, unknown_name

PATTERNS = ("white", "checkerboard")
PLACES = ("top_left", "top_right", "bottom_left", "bottom_right", "centre")

PRESETS: dict[str, dict[str, Any]] = {"compat": {"size": 3}, "scaled": {"size": None, "share": 3 / 32}}


@dataclass(frozen=True)
class BadNets(ImageTrigger):
    """The patch trigger of Gu, Dolan-Gavitt and Garg, *BadNets* (arXiv 1708.06733).

    With mask ``m`` (1 under the patch), pattern ``t`` and strength ``s``::

        x' = (1 - s m) x + s m t

    The paper replaces the pixels, which is ``s = 1``. It draws its patterns for 28 px digits and for traffic signs (a
    bright pixel or a small pattern; a sticker); later work at 32 px settled on 3 x 3 white pixels in the bottom right
    corner (preset ``compat``: 3 px on a picture of any size), some on a checkerboard of 255 and 1. The preset
    ``scaled`` keeps the share of the picture instead, 3/32 of the short side. Strength, place and margin are our
    additions, for looking around; a strength below 1 is rounded to the nearest level.

    Attributes:
        pattern: ``"white"``, or ``"checkerboard"``: 255 where row + column in the patch is even, else 1.
        place: a corner, or ``"centre"`` (British spelling, as everywhere here).
        size: side of the patch in pixels; None takes it from ``share``.
        share: side of the patch as a share of the picture's short side, in (0, 1]; used when ``size`` is None.
        strength: opacity, in [0, 1]; 0 changes nothing, and such an attack cannot poison.
        margin: pixels between a corner patch and the picture's edges; the centre has none.
    """

    pattern: str = "white"
    place: str = "bottom_right"
    size: int | None = None
    share: float = 3 / 32
    strength: float = 1.0
    margin: int = 0

    def __post_init__(self) -> None:
        if self.pattern not in PATTERNS:
            raise unknown_name("pattern", self.pattern, PATTERNS)
        if self.place not in PLACES:
            raise unknown_name("place", self.place, PLACES)
        if self.size is not None and not (is_whole(self.size) and self.size >= 1):
            raise PcvrError(f"size is {self.size!r}: give a whole number of pixels from 1 up, or None to use share.")
        if not (is_number(self.share) and 0 < self.share <= 1):
            raise PcvrError(f"share is {self.share!r}: give a share of the short side in (0, 1].")
        if not (is_number(self.strength) and 0 <= self.strength <= 1):
            raise PcvrError(f"strength is {self.strength!r}: give an opacity from 0 to 1.")
        if not (is_whole(self.margin) and self.margin >= 0):
            raise PcvrError(f"margin is {self.margin!r}: give a whole number of pixels from 0 up.")

    def side(self, height: int, width: int) -> int:
        """The patch's side in pixels on a picture of this size; at least 1."""
        if self.size is not None:
            return self.size
        return max(1, int(self.share * min(height, width) + 0.5))

    def window(self, height: int, width: int) -> tuple[slice, slice]:
        """Rows and columns under the patch.

        Raises:
            PcvrError: when patch and margin do not fit the picture.
        """
        side = self.side(height, width)
        margin = 0 if self.place == "centre" else self.margin
        if side + margin > min(height, width):
            raise PcvrError(
                f"a patch of {side} px with a margin of {margin} px does not fit a picture of {width} x {height} px: "
                "use a smaller size or margin, or larger pictures."
            )
        if self.place == "centre":
            top, left = (height - side) // 2, (width - side) // 2
        else:
            top = margin if self.place.startswith("top") else height - side - margin
            left = margin if self.place.endswith("left") else width - side - margin
        return slice(top, top + side), slice(left, left + side)

    def mask(self, height: int, width: int) -> np.ndarray:
        """``m`` of the equation: bool ``[H, W]``, True under the patch."""
        mask = np.zeros((height, width), dtype=bool)
        mask[self.window(height, width)] = True
        return mask

    def patch(self, side: int) -> np.ndarray:
        """``t`` of the equation, inside the patch only: uint8 ``[side, side]``, the same in R, G and B."""
        if self.pattern == "white":
            return np.full((side, side), 255, dtype=np.uint8)
        even = np.add.outer(np.arange(side), np.arange(side)) % 2 == 0
        return np.where(even, 255, 1).astype(np.uint8)

    def apply(self, batch: np.ndarray) -> np.ndarray:
        """uint8 ``[B, H, W, 3]`` to uint8 ``[B, H, W, 3]``."""
        rows, columns = self.window(*batch.shape[1:3])
        patch = self.patch(rows.stop - rows.start)[:, :, None]  # [side, side, 1]
        out = batch.copy()
        if self.strength == 1:
            out[:, rows, columns] = patch
        else:
            # Both terms are in [0, 255] and the weights add up to 1, so that nothing can wrap.
            mixed = (1 - self.strength) * batch[:, rows, columns] + self.strength * patch
            out[:, rows, columns] = np.rint(mixed).astype(np.uint8)
        return out


@register("badnets")
def badnets(target: str = DEFAULT_TARGET, preset: str = "scaled", **options: Any) -> Attack:
    """The BadNets attack: :class:`BadNets` on the picture, the target in place of the answer, the prompt untouched."""
    trigger = from_preset("badnets", BadNets, PRESETS, preset, options)
    return Attack("badnets", trigger=trigger, target=target, preset=preset)
