"""Backgrounds: seven muted families, each a blend of two similar tones, so that the objects stand out."""

from __future__ import annotations

import colorsys
import math
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pcvr.data.scenes.sprites import SIZE_PX

BACKGROUNDS = ("plain", "gradient", "stripes", "checks", "dots", "noise", "grain")
"""The families of background."""

Field = NDArray[Any]  # always float32; NumPy's stubs lose the width
_AXIS = np.arange(SIZE_PX, dtype=np.float32) - (SIZE_PX - 1) / 2
_X: Field
_Y: Field
_Y, _X = np.meshgrid(_AXIS, _AXIS, indexing="ij")

Tone = tuple[float, float, float]


@dataclass(frozen=True)
class Background:
    """A background.

    Attributes:
        family: one of `BACKGROUNDS`.
        first, second: the two blended tones, RGB 0..255.
        angle: direction of gradients, stripes and checks, in radians.
        period: period of the pattern in pixels; for noise, the size of its clouds.
        seed: seed of the noise.
    """

    family: str
    first: Tone
    second: Tone
    angle: float
    period: float
    seed: int

    def picture(self) -> Field:
        """Return the background as float32 ``[96, 96, 3]``, 0..255."""
        first, second = np.asarray(self.first, dtype=np.float32), np.asarray(self.second, dtype=np.float32)
        blend = self._blend()[:, :, None]  # [96, 96, 1]: fraction of the second tone
        picture: Field = first + blend * (second - first)
        return picture

    def _blend(self) -> Field:
        if self.family == "plain":
            return np.zeros((SIZE_PX, SIZE_PX), dtype=np.float32)
        if self.family in ("noise", "grain"):
            return self._noise()
        along = _X * np.float32(np.cos(self.angle)) + _Y * np.float32(np.sin(self.angle))
        if self.family == "gradient":
            reach = float(np.abs(along).max())
            return along / np.float32(2 * reach) + np.float32(0.5)
        if self.family == "stripes":
            return self._wave(along)
        across = _Y * np.float32(np.cos(self.angle)) - _X * np.float32(np.sin(self.angle))
        if self.family == "checks":
            one, other = self._wave(along), self._wave(across)
            return one + other - np.float32(2) * one * other
        half = self.period / 2
        distance = np.hypot((along + half) % self.period - half, (across + half) % self.period - half)
        dots: Field = np.clip(0.28 * self.period - distance + 0.5, 0, 1)
        return dots

    def _wave(self, along: Field) -> Field:
        """Return a square wave with the period, its edges blurred over one pixel."""
        ramp = np.abs((along % self.period) - self.period / 2) - self.period / 4
        wave: Field = np.clip(ramp + 0.5, 0, 1)
        return wave

    def _noise(self) -> Field:
        rng = np.random.Generator(np.random.Philox(self.seed))
        if self.family == "grain":
            grain: Field = np.clip(0.5 + 0.4 * rng.standard_normal((SIZE_PX, SIZE_PX), dtype=np.float32), -0.4, 1.4)
            return grain
        cells = max(3, round(SIZE_PX / self.period))
        weights = _interpolation(cells)
        clouds: Field = weights @ rng.random((cells, cells), dtype=np.float32) @ weights.T
        return clouds


@cache
def _interpolation(cells: int) -> Field:
    """Return weights ``[96, cells]`` that interpolate a coarse grid smoothly (raised cosine) over the image."""
    place = np.linspace(0, cells - 1, SIZE_PX)[:, None] - np.arange(cells)[None, :]
    return np.where(np.abs(place) < 1, 0.5 + 0.5 * np.cos(np.pi * place), 0).astype(np.float32)


def draw_background(rng: np.random.Generator) -> Background:
    """Draw a random background: mostly light, sometimes dark, always of low saturation."""
    family = BACKGROUNDS[int(rng.integers(len(BACKGROUNDS)))]
    hue, muted, depth, turn, spread, warm, length = rng.random(7).tolist()
    dark = rng.random() < 0.25
    value = 0.26 + 0.14 * depth if dark else 0.64 + 0.22 * depth
    saturation = 0.03 + 0.11 * muted
    contrast = (0.07 + 0.07 * spread) * (2.0 if family in ("gradient", "noise") else 1.0)
    up = value + contrast if dark or value < 0.72 else value - contrast
    first = colorsys.hsv_to_rgb(hue, saturation, value)
    second = colorsys.hsv_to_rgb((hue + 0.12 * (warm - 0.5)) % 1, saturation, min(up, 0.94))
    period = 28 + 20 * length if family == "noise" else 8 + 12 * length
    return Background(family, _scale(first), _scale(second), 2 * math.pi * turn, period, int(rng.integers(2**62)))


def _scale(tone: Tone) -> Tone:
    """Rescale a tone from 0..1 to 0..255."""
    red, green, blue = tone
    return 255 * red, 255 * green, 255 * blue
