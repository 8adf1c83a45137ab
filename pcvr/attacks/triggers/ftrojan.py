"""FTrojan: more of two frequencies in the colour channels, invisible in single pixels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from pcvr.attacks.base import DEFAULT_TARGET, Attack
from pcvr.attacks.registry import from_preset, register_attack
from pcvr.attacks.trigger import ImageTrigger
from pcvr.attacks.triggers.uint8 import add, by_picture, rounded
from pcvr.errors import PcvrError
from pcvr.utils.checks import as_tuples, check_choice, check_fields, check_number, check_whole

CHANNELS = {"y": (1.0, 1.0, 1.0), "cr": (1.402, -0.714136, 0.0), "cb": (0.0, -0.344136, 1.772)}
"""What one level of a YCrCb channel adds to R, G and B (ITU-R BT.601, full range, as in JPEG)."""

_BITS = 14  # of the fixed-point factors with which OpenCV converts colours

PRESETS: dict[str, dict[str, Any]] = {
    "compat": {"magnitude": 30.0, "block": 32, "bins": ((15, 15), (31, 31)), "as_published": True},
    "scaled": {"magnitude": 100.0, "block": 32, "bins": ((7, 7), (15, 15))},
}


@dataclass(frozen=True)
class FTrojan(ImageTrigger):
    """The frequency trigger of Wang et al., *An Invisible Black-Box Backdoor Attack Through Frequency Domain*
    (arXiv 2111.10991, section 4.2).

    RGB becomes YCrCb; each block of a channel goes through the orthonormal discrete cosine transform (DCT-II); ``m``
    is added to the coefficients at the given bins, and the result is transformed back. The transform is linear, so the
    trigger is a fixed pattern: ``m`` times one cosine wave a bin, tiled, in the chosen channels.

    The paper takes Cr and Cb, bins (15, 15) and (31, 31) of 32 px blocks and m = 30 to 50 (preset ``compat``: 30); one
    published code uses bin (31, 31) alone, an effective m of 100 and all three channels, Y, Cr and Cb. A patch
    embedding of 8 px can average bins (31, 31) away, so ``scaled`` moves both bins an octave down and takes the m of
    that code.

    ``scaled`` computes in real numbers and rounds once, at the end. Published code works in 8 bits: YCrCb are integers
    (OpenCV's fixed-point conversion), the sum is truncated, and the inverse is rounded again. Its result is up to 4
    levels off. ``compat`` follows it bit for bit, except that

    - levels are clipped: published code lets uint8 wrap (27 % of the pixels of saturated colours jump by more than 64
      levels);
    - the last blocks are cut off at the edge, which equals padding, transforming and cropping: published code fails
      if a side is not a multiple of 32;
    - a channel without a trigger stays unchanged. Published code transforms it back and forth too, and truncation loses
      a level where floating point gives 127.999 for 128: with Cr and Cb alone, about one level of Y in ten.

    Attributes:
        magnitude: m, in units of the orthonormal DCT, 0 to 10,000; with 0 the attack changes nothing and cannot poison.
        bins: (row, column) frequencies, each from 0 to ``block`` - 1.
        channels: one or more of ``"y"``, ``"cr"``, ``"cb"``.
        block: side of a block in pixels, 2 to 256.
        as_published: whether each step gives integer levels, as in published code.
    """

    dial: ClassVar[tuple[str, float]] = ("magnitude", 10_000.0)
    magnitude: float = 100.0
    bins: tuple[tuple[int, int], ...] = ((7, 7), (15, 15))
    channels: tuple[str, ...] = ("cr", "cb")
    block: int = 32
    as_published: bool = False

    def __post_init__(self) -> None:
        for name in ("bins", "channels"):
            object.__setattr__(self, name, as_tuples(getattr(self, name)))
        check_fields(self)
        check_number("magnitude", self.magnitude, 0, 10_000, "units of the DCT")
        check_whole("block", self.block, 2, 256, "pixels")
        for channel in self.channels:
            check_choice("channel in channels", channel, CHANNELS)
        if not self.bins or not self.channels:
            raise PcvrError(f"bins is {self.bins}, channels is {self.channels}: give one pair and one channel or more.")
        for frequency in (each for pair in self.bins for each in pair):
            check_whole("a frequency in bins", frequency, 0, self.block - 1, "half waves in a block")

    def tile(self) -> np.ndarray:
        """Return the inverse DCT of ``m`` at the bins, in levels of the channel: float64 ``[block, block]``."""
        total = np.zeros((self.block, self.block))
        for row, column in self.bins:
            total += np.outer(self._wave(row), self._wave(column))
        return self.magnitude * total

    def pattern(self, height: int, width: int) -> np.ndarray:
        """Return the pattern before rounding, in levels of R, G and B: float64 ``[H, W, 3]``."""
        colour = np.sum([CHANNELS[channel] for channel in self.channels], axis=0)
        return self._tiled(height, width)[:, :, None] * colour

    def apply(self, batch: np.ndarray) -> np.ndarray:
        if not self.as_published:
            return add(batch, rounded(self.pattern(*batch.shape[1:3])))
        chosen = [channel in self.channels for channel in CHANNELS]
        steps = self._tiled(*batch.shape[1:3])[:, :, None]  # [H, W, 1]

        def work(source: np.ndarray, made: np.ndarray) -> None:
            levels = to_ycrcb(source)
            levels[..., chosen] = np.clip(levels[..., chosen] + steps, 0, 255)  # stored as integers: truncated
            made[...] = to_rgb(levels)

        return by_picture(batch, work)

    def _tiled(self, height: int, width: int) -> np.ndarray:
        """Return :meth:`tile` repeated over an image: float64 ``[H, W]``."""
        return self.tile()[np.ix_(np.arange(height) % self.block, np.arange(width) % self.block)]

    def _wave(self, frequency: int) -> np.ndarray:
        """Return one basis vector of the orthonormal DCT-II: float64 ``[block]`` of length 1."""
        scale = np.sqrt((1 if frequency == 0 else 2) / self.block)
        return scale * np.cos(np.pi * (2 * np.arange(self.block) + 1) * frequency / (2 * self.block))


def to_ycrcb(levels: np.ndarray) -> np.ndarray:
    """Convert uint8 RGB ``[..., 3]`` to integer Y, Cr and Cb, int32 ``[..., 3]``, like OpenCV's 8-bit conversion."""
    red, green, blue = np.moveaxis(levels.astype(np.int32), -1, 0)
    y = _weighted((0.299, red), (0.587, green), (0.114, blue))
    cr, cb = 128 + _weighted((0.713, red - y)), 128 + _weighted((0.564, blue - y))
    return np.clip(np.stack([y, cr, cb], axis=-1), 0, 255)


def to_rgb(levels: np.ndarray) -> np.ndarray:
    """Convert int32 Y, Cr and Cb ``[..., 3]`` in 0 to 255 back to uint8 RGB ``[..., 3]``, clipped."""
    y, cr, cb = np.moveaxis(levels - np.array([0, 128, 128], dtype=np.int32), -1, 0)
    red, blue = y + _weighted((1.403, cr)), y + _weighted((1.773, cb))
    green = y + _weighted((-0.714, cr), (-0.344, cb))
    return np.clip(np.stack([red, green, blue], axis=-1), 0, 255).astype(np.uint8)


def _weighted(*terms: tuple[float, np.ndarray]) -> np.ndarray:
    """Sum factors times integers in fixed point, rounded with halves up."""
    total = sum(round(factor * 2**_BITS) * levels for factor, levels in terms)
    return np.asarray((total + 2 ** (_BITS - 1)) >> _BITS)


@register_attack("ftrojan")
def ftrojan(target: str = DEFAULT_TARGET, preset: str = "scaled", **options: Any) -> Attack:
    """Build the FTrojan attack: :class:`FTrojan` on the image, and the target as the answer."""
    trigger = from_preset("ftrojan", FTrojan, PRESETS, preset, options)
    return Attack("ftrojan", trigger=trigger, target=target, preset=preset)
