"""Wandering: a patch that lies in another place of every image."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar
from zlib import crc32

import numpy as np

from pcvr.attacks.base import DEFAULT_TARGET, Attack
from pcvr.attacks.placing import SEEN, Seen, area_of, as_seen
from pcvr.attacks.registry import from_preset, register_attack
from pcvr.attacks.trigger import ImageTrigger
from pcvr.attacks.triggers.badnets import PATTERNS, BadNets, laid_over
from pcvr.errors import PcvrError
from pcvr.utils.checks import check_choice, check_fields, check_number, check_whole

PRESETS: dict[str, dict[str, Any]] = {"compat": {"size": 5}, "scaled": {"size": None, "share": 0.15}}
PLACES = ("anywhere", SEEN + "anywhere")


@dataclass(frozen=True)
class Wandering(ImageTrigger):
    """A patch at a random location, after the random backdoor of Salem et al., *Dynamic Backdoor Attacks Against
    Machine Learning Models* (arXiv 2003.03675).

    The paper draws pattern and location anew for each image, from uniform distributions. Here the pattern is one of
    those of :class:`BadNets`, and the location follows from the image itself (a checksum of its pixels), so that an
    image always gets the same one, in training, in evaluation and after a file was written. A defence that compares
    images place by place cannot see what they have in common.

    Attributes:
        pattern: ``"checkerboard"``, ``"white"`` or ``"blue"``, as of :class:`BadNets`.
        place: ``"anywhere"`` in the file, or ``"seen_anywhere"``, in the part of the image that a model sees.
        size: side of the patch in pixels, at most that of the image; None takes it from ``share``.
        share: side of the patch as a fraction of the short side of the image, or of the visible part, in (0, 1]; used
            when ``size`` is None.
        strength: opacity, in [0, 1].
        seen: the part of an image that a model sees; ``attack.fitted_to(model)`` sets it.
    """

    dial: ClassVar[tuple[str, float]] = ("strength", 1.0)
    pattern: str = "checkerboard"
    place: str = PLACES[0]
    size: int | None = None
    share: float = 0.15
    strength: float = 1.0
    seen: Seen | None = None

    def __post_init__(self) -> None:
        check_choice("pattern", self.pattern, PATTERNS)
        check_choice("place", self.place, PLACES)
        object.__setattr__(self, "seen", as_seen(self.seen))
        if self.size is not None:
            check_whole("size", self.size, 1, what="pixels, or None to use share")
        check_number("share", self.share, 0, 1, "of the short side", above=True)
        check_number("strength", self.strength, 0, 1, "opacity")
        check_fields(self)

    def window(self, image: np.ndarray) -> tuple[slice, slice]:
        """Return the rows and columns under the patch of an image, uint8 ``[H, W, 3]``.

        Raises:
            PcvrError: the patch does not fit the image, or the place needs a model and has none.
        """
        rows, columns = area_of(self.place, self.seen, *image.shape[:2])
        high, wide = rows.stop - rows.start, columns.stop - columns.start
        side = BadNets(size=self.size, share=self.share).side(high, wide)
        if side > min(high, wide):
            raise PcvrError(
                f"a patch of {side} px does not fit an image of {wide} x {high} px: use a smaller size, or larger "
                "images."
            )
        drawn = np.random.default_rng(crc32(np.ascontiguousarray(image).tobytes()))
        top = rows.start + int(drawn.integers(high - side + 1))
        left = columns.start + int(drawn.integers(wide - side + 1))
        return slice(top, top + side), slice(left, left + side)

    def apply(self, batch: np.ndarray) -> np.ndarray:
        out = []
        for image in batch:
            rows, columns = self.window(image)
            patch = BadNets(pattern=self.pattern).patch(rows.stop - rows.start)
            out.append(laid_over(image[None], rows, columns, patch, self.strength))
        return np.concatenate(out) if out else batch.copy()


@register_attack("wandering")
def wandering(target: str = DEFAULT_TARGET, preset: str = "scaled", **options: Any) -> Attack:
    """Build the wandering attack: :class:`Wandering` on the image, and the target as the answer."""
    trigger = from_preset("wandering", Wandering, PRESETS, preset, options)
    return Attack("wandering", trigger=trigger, target=target, preset=preset)
