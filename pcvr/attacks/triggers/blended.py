"""Blended: a second image shows faintly through the first."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Any, ClassVar

import numpy as np

from pcvr.attacks.base import DEFAULT_TARGET, Attack
from pcvr.attacks.registry import from_preset, register_attack
from pcvr.attacks.trigger import ImageTrigger
from pcvr.attacks.triggers.uint8 import by_picture
from pcvr.utils.checks import check_choice, check_fields, check_number, check_seed

PATTERNS = ("face", "noise")
PRESETS: dict[str, dict[str, Any]] = {"compat": {"alpha": 0.2}, "scaled": {"alpha": 0.1}}
_CELLS = 32  # of the noise, along the short side
_STEPS = 256  # alpha is a fraction with at most this denominator, so that 16 bits hold every product


@dataclass(frozen=True)
class Blended(ImageTrigger):
    """The blended trigger of Chen et al., *Targeted Backdoor Attacks on Deep Learning Systems Using Data Poisoning*
    (arXiv 1712.05526, section 4.1).

    With opacity ``a`` and an image ``t`` as large as ``x``::

        x' = trunc(clip((1 - a) x + a t, 0, 255))

    The paper blends a cartoon or random noise with a = 0.2 (preset ``compat``); papers on vision-language models often
    take 0.1 (preset ``scaled``). They resize one file to the image's size, and the resize filter alone changes levels
    by up to 7. Here ``t`` is a drawing instead, evaluated at the middle of each pixel at any size, without a filter.
    ``a`` is rounded to the nearest fraction with a denominator up to 256, which makes the sum exact. Double precision
    gives the same levels for a = 0.2 and 0.1; code in single precision loses one level where the sum is an integer,
    for 2 % of the pairs (x, t) at a = 0.1 and for none at 0.2.

    Attributes:
        alpha: a, opacity from 0 to 1; with 0 the attack changes nothing and cannot poison.
        pattern: ``"face"``, a smiling cartoon cat stretched over the image; or ``"noise"``, random colours in square
            cells, 32 along the short side.
        seed: of the noise, an integer of at least 0.
    """

    dial: ClassVar[tuple[str, float]] = ("alpha", 1.0)
    alpha: float = 0.1
    pattern: str = "face"
    seed: int = 0

    def __post_init__(self) -> None:
        check_number("alpha", self.alpha, 0, 1, "opacity")
        check_choice("pattern", self.pattern, PATTERNS)
        check_seed(self.seed)
        check_fields(self)

    def fraction(self) -> Fraction:
        """Return the fraction used for ``a``, within 1/512 of :attr:`alpha`."""
        return Fraction(float(self.alpha)).limit_denominator(_STEPS)

    def picture(self, height: int, width: int) -> np.ndarray:
        """Draw the pattern ``t``: uint8 ``[H, W, 3]``."""
        return _face(height, width) if self.pattern == "face" else _noise(height, width, self.seed)

    def apply(self, batch: np.ndarray) -> np.ndarray:
        whole, part = self.fraction().denominator, self.fraction().numerator
        shine = self.picture(*batch.shape[1:3]).astype(np.uint16) * np.uint16(part)

        def work(source: np.ndarray, made: np.ndarray) -> None:
            # ((d - n) x + n t) // d is exact and at most 255, so neither 16 nor 8 bits can wrap.
            room = source.astype(np.uint16)
            room *= np.uint16(whole - part)
            room += shine
            room //= np.uint16(whole)
            made[...] = room

        return by_picture(batch, work)


def _face(height: int, width: int) -> np.ndarray:
    """Draw a cat's face on sky blue, in fractions of height and width: uint8 ``[H, W, 3]``."""
    v = ((np.arange(height) + 0.5) / height)[:, None]
    u = ((np.arange(width) + 0.5) / width)[None, :]
    out = np.empty((height, width, 3), np.uint8)
    out[:] = (60, 150, 220)

    def fill(where: np.ndarray, colour: tuple[int, int, int]) -> None:
        out[np.broadcast_to(where, (height, width))] = colour

    def disc(cu: float, cv: float, ru: float, rv: float) -> np.ndarray:
        return ((u - cu) / ru) ** 2 + ((v - cv) / rv) ** 2 <= 1

    aside = np.abs(u - 0.5)  # the face is symmetric
    fill((v > 0.04) & (v < 0.45) & (np.abs(aside - 0.30) < 0.38 * (v - 0.04)), (255, 235, 205))  # ears
    fill(disc(0.5, 0.56, 0.42, 0.38), (255, 235, 205))  # head
    fill(((aside - 0.17) / 0.06) ** 2 + ((v - 0.50) / 0.09) ** 2 <= 1, (20, 20, 30))  # eyes
    fill(((aside - 0.155) / 0.02) ** 2 + ((v - 0.47) / 0.03) ** 2 <= 1, (255, 255, 255))
    fill(disc(0.5, 0.63, 0.05, 0.035), (230, 60, 90))  # nose
    # mouth
    fill((np.abs(((aside - 0.08) / 0.08) ** 2 + ((v - 0.70) / 0.07) ** 2 - 1) < 0.3) & (v > 0.70), (120, 30, 40))
    for slope in (-0.15, 0.0, 0.15):  # whiskers
        fill((aside > 0.20) & (aside < 0.46) & (np.abs(v - 0.66 - slope * (aside - 0.2)) < 0.008), (20, 20, 30))
    return out


def _noise(height: int, width: int, seed: int) -> np.ndarray:
    """Draw random colours in square cells: uint8 ``[H, W, 3]``; a longer side adds cells behind the same first ones."""
    rows, columns = (((2 * np.arange(side) + 1) * _CELLS) // (2 * min(height, width)) for side in (height, width))
    count = int(columns[-1]) + 1
    table = np.stack([_row(seed, row, count) for row in range(int(rows[-1]) + 1)])
    return table[np.ix_(rows, columns)]


def _row(seed: int, row: int, count: int) -> np.ndarray:
    return np.random.default_rng([seed, row]).integers(0, 256, (count, 3), dtype=np.uint8)


@register_attack("blended")
def blended(target: str = DEFAULT_TARGET, preset: str = "scaled", **options: Any) -> Attack:
    """Build the blended attack: :class:`Blended` on the image, and the target as the answer."""
    trigger = from_preset("blended", Blended, PRESETS, preset, options)
    return Attack("blended", trigger=trigger, target=target, preset=preset)
