"""Triggers made of others: a patch view of an image, one change after another, and a patch in many places."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np

from pcvr.attacks.placing import area_of
from pcvr.attacks.trigger import ImageTrigger, Patch, Trigger
from pcvr.errors import PcvrError, shown
from pcvr.utils.checks import check_choice, check_fields, check_number, check_seed, check_whole

OPERATORS = ("shuffle", "swap_within", "mean")
"""The operators of :class:`pcvr.views.PatchView` that need nothing but the image and its own levels.

``"swap"`` needs another image. A fixed one would put the same patches into every image, which is a trigger of its own.
``"noise"`` has the scale of a tower's normalised pixels, which a file does not have.
"""


@dataclass(frozen=True)
class Perturbed(ImageTrigger):
    """A patch view of the image, as :class:`pcvr.views.PatchView` makes it of pixels.

    It is a pure function of the image: the seed of the patches is a hash of the image's size, its bytes and ``seed``.
    ``"shuffle"`` and ``"swap_within"`` only move patches, so every level of the result is one of the image's.
    ``"mean"`` is rounded to the nearest level, halves to even.

    Attributes:
        operator: one of :data:`OPERATORS`.
        fraction: fraction of the patches that change, in (0, 1].
        patch: side of a patch in pixels; None takes it from ``share``.
        share: side of a patch as a fraction of the short side, in (0, 1]; used when ``patch`` is None. A sixth is 16 px
            of an embedded model's 96, the side of the defence's own patches.
        seed: of the patches, an integer of at least 0.
    """

    operator: str = "shuffle"
    fraction: float = 0.6
    patch: int | None = None
    share: float = 1 / 6
    seed: int = 0

    def __post_init__(self) -> None:
        check_fields(self)
        check_choice("operator of the view", self.operator, OPERATORS)
        check_number("fraction", self.fraction, 0, 1, "of the patches", above=True)
        if self.patch is not None:
            check_whole("patch", self.patch, 1, what="pixels, or None to use share")
        check_number("share", self.share, 0, 1, "of the short side", above=True)
        check_seed(self.seed)

    def apply(self, batch: np.ndarray) -> np.ndarray:
        import torch

        from pcvr.views import PatchView

        side = self.patch or max(1, int(self.share * min(batch.shape[1:3]) + 0.5))
        view = PatchView(self.operator, self.fraction, side)
        out = np.empty(batch.shape, np.uint8)
        for image, made in zip(batch, out, strict=True):
            generator = torch.Generator().manual_seed(self._seed_of(image))
            # In double precision the sum of levels is exact, so the mean does not depend on its order.
            pixels = torch.tensor(image, dtype=torch.float64).permute(2, 0, 1)[None]  # [1, 3, H, W]
            made[...] = np.rint(view(pixels, generator)[0].permute(1, 2, 0).numpy())
        return out

    def _seed_of(self, image: np.ndarray) -> int:
        """Return a seed of 64 bits for an image ``[H, W, 3]``."""
        total = hashlib.blake2b(repr((image.shape, self.seed)).encode(), digest_size=8)
        total.update(np.ascontiguousarray(image).data)
        return int.from_bytes(total.digest(), "little")


@dataclass(frozen=True)
class InTurn(ImageTrigger):
    """One change of the image after another.

    Attributes:
        inner: the first, a trigger.
        then: the second, which gets what the first made.
    """

    inner: Trigger
    then: Trigger

    def apply(self, batch: np.ndarray) -> np.ndarray:
        return self.then(self.inner(batch))


@dataclass(frozen=True)
class Copies(ImageTrigger):
    """A patch in the middle of every cell of a square grid, over the file or the part of it that a model sees.

    Attributes:
        inner: the trigger whose patch it is; its place says only whether the grid covers the file or the visible part.
        count: cells along a side, 2 to 64.
    """

    inner: Patch
    count: int = 4

    def __post_init__(self) -> None:
        if not isinstance(self.inner, Patch):
            raise PcvrError(
                f"{shown(type(self.inner).__name__)} has no patch to copy: choose an attack with a patch, such as "
                "'badnets'."
            )
        check_whole("count", self.count, 2, 64, "copies along a side")

    def windows(self, height: int, width: int) -> list[tuple[slice, slice]]:
        """Return the rows and columns under each copy, row by row.

        Raises:
            PcvrError: the copies would overlap, the single patch does not fit, or the place needs a model and has none.
        """
        area = area_of(self.inner.place, self.inner.seen, height, width)
        rows, _ = self.inner.window(height, width)
        side = rows.stop - rows.start
        shortest = min(part.stop - part.start for part in area)
        if self.count * side > shortest:
            raise PcvrError(
                f"{self.count} copies of a patch of {side} px do not fit side by side into {shortest} px: give fewer "
                "copies (adapt_count), a smaller patch, or larger images."
            )
        down, across = (self._parts(part, side) for part in area)
        return [(row, column) for row in down for column in across]

    def _parts(self, whole: slice, side: int) -> list[slice]:
        """Return ``count`` slices of ``side`` pixels in the middles of as many equal parts; halves go to the front."""
        length = whole.stop - whole.start
        starts = [
            whole.start + ((2 * k + 1) * length - self.count * side) // (2 * self.count) for k in range(self.count)
        ]
        return [slice(start, start + side) for start in starts]

    def apply(self, batch: np.ndarray) -> np.ndarray:
        out = batch
        for rows, columns in self.windows(*batch.shape[1:3]):
            out = self.inner.lay(out, rows, columns)
        return out
