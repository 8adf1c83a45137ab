"""Define triggers: pure functions of an image, or of a prompt."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import replace
from typing import Any, ClassVar, Protocol, TypeVar, runtime_checkable

import numpy as np
from PIL import Image as PilImage

from pcvr.data.pictures import rgb_array
from pcvr.errors import PcvrError

Picture = TypeVar("Picture", np.ndarray, PilImage.Image)


@runtime_checkable
class Trigger(Protocol):
    """A pure function of an image: uint8 ``[H, W, 3]`` or ``[B, H, W, 3]``, or a PIL image; the result has the same
    kind and size.

    It never changes its input or wraps around 0 or 255, always gives the same result, and handles a batch exactly as
    each of its images.
    """

    def __call__(self, image: Picture, /) -> Picture: ...


@runtime_checkable
class PromptEdit(Protocol):
    """A pure function of the prompt: a text trigger."""

    def __call__(self, prompt: str, /) -> str: ...


@runtime_checkable
class Patch(Trigger, Protocol):
    """A trigger that covers a square of the image, and can lay it elsewhere."""

    @property
    def place(self) -> str:
        """A place of `pcvr.attacks.placing`."""

    @property
    def seen(self) -> Any:
        """The part of an image that a model sees, or None."""

    def window(self, height: int, width: int) -> tuple[slice, slice]:
        """Return the rows and columns under the patch on an image of this size."""

    def lay(self, batch: np.ndarray, rows: slice, columns: slice) -> np.ndarray:
        """Lay the patch over these rows and columns: uint8 ``[B, H, W, 3]`` to new uint8 ``[B, H, W, 3]``."""


class ImageTrigger(ABC):
    """Base class of image triggers: it checks and converts the input. A subclass is a frozen dataclass with `apply`."""

    dial: ClassVar[tuple[str, float]] = ("", 0.0)
    """The field with the strength of the trigger, and its largest value; an empty name if there is none."""

    def turned(self, factor: float) -> ImageTrigger:
        """Return the trigger ``factor`` times as strong, at most the largest strength.

        Raises:
            PcvrError: the factor is negative, or it is not 1 and the trigger has no dial.
        """
        name, largest = self.dial
        if not name and factor == 1:
            return self
        if not name or not factor >= 0:
            raise PcvrError(
                f"{type(self).__name__} cannot be made {factor!r} times as strong: give a number from 0 up, and a "
                "trigger with a dial."
            )
        turned: Any = replace(self, **{name: min(factor * getattr(self, name), largest)})  # type: ignore[type-var]
        return turned

    @abstractmethod
    def apply(self, batch: np.ndarray) -> np.ndarray:
        """Apply the formula: read-only uint8 ``[B, H, W, 3]`` to new uint8 ``[B, H, W, 3]``."""

    def __call__(self, image: Picture, /) -> Picture:
        """Return the triggered image or batch, of the same kind, size and dtype.

        Args:
            image: uint8 ``[H, W, 3]`` or ``[B, H, W, 3]``, RGB; or a PIL image of any mode but float; the
                result is in mode RGB.

        Raises:
            PcvrError: the dtype or shape is wrong, the image is empty, or the trigger does not fit it.
        """
        if isinstance(image, PilImage.Image):
            return PilImage.fromarray(self._checked(rgb_array(image)[None])[0])
        if not isinstance(image, np.ndarray):
            raise PcvrError(f"a trigger takes a NumPy array or a PIL image, not a {type(image).__name__}.")
        if image.ndim == 3:
            return self._checked(image[None])[0]
        return self._checked(image)

    def _checked(self, batch: np.ndarray) -> np.ndarray:
        if batch.dtype != np.uint8:
            raise PcvrError(f"a trigger takes uint8 levels 0 to 255, not {batch.dtype}: convert the image first.")
        if batch.ndim != 4 or batch.shape[-1] != 3 or 0 in batch.shape[1:3]:
            raise PcvrError(
                f"a trigger takes images [H, W, 3] or [B, H, W, 3] of at least one pixel, not {list(batch.shape)}."
            )
        shielded = batch.view()
        shielded.flags.writeable = False  # a formula that writes into its input fails here
        out = self.apply(shielded)
        if out.shape != batch.shape or out.dtype != np.uint8:
            # The size of a file must not reveal a trigger.
            raise PcvrError(
                f"{type(self).__name__} turned uint8 {list(batch.shape)} into {out.dtype} {list(out.shape)}: "
                "a trigger keeps size and dtype."
            )
        return out
