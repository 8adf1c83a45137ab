"""Low-frequency: a smooth haze over the whole picture, without the high frequencies that give other triggers away."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from pcvr.attacks.base import DEFAULT_TARGET, Attack
from pcvr.attacks.registry import from_preset, register_attack
from pcvr.attacks.trigger import ImageTrigger
from pcvr.attacks.triggers.uint8 import add, rounded
from pcvr.utils.checks import check_fields, check_number, check_seed

PRESETS: dict[str, dict[str, Any]] = {
    "compat": {"peak": 51.0, "sigma": 6.0},
    "scaled": {"peak": 51.0, "sigma": None, "share": 6 / 32},
}
_FAINT = 1e-3  # coefficients damped below this share are left out


@dataclass(frozen=True)
class LowFrequency(ImageTrigger):
    """A smooth additive pattern after Zeng et al., *Rethinking the Backdoor Attacks' Triggers: A Frequency Perspective*
    (arXiv 2104.03413, section 5).

    With a pattern ``p`` from 0 to ``peak`` levels in each channel::

        x' = clip(round(x + p), 0, 255)

    The paper finds ``p`` for a data set and a classifier by bilevel optimisation under a Gaussian low-pass filter. Here
    it is drawn instead: Gaussian noise from a seed through that filter (as damped cosine coefficients, so that it is
    the same picture at every resolution), stretched to 0 to ``peak``; smooth alike, but not optimised. Published code
    truncates the sum where this rounds it, in both presets: with a pattern of our own there is no level to agree on. A
    third of the patterns that were published lie in [0, 0.2] while pictures go to 255, and change nothing when added
    to whole levels; poisoning here refuses a trigger that leaves its picture as it was.

    ``compat`` takes a filter of 6 px whatever the size of the picture, ``scaled`` the same share of the short side as
    6 px have at 32.

    Attributes:
        peak: the largest level added, 0 to 255.
        sigma: standard deviation of the filter in pixels, above 0; None takes it from ``share``.
        share: the same as a share of the short side, in (0, 1]; used when ``sigma`` is None.
        seed: of the pattern, a whole number from 0 up.
    """

    dial: ClassVar[tuple[str, float]] = ("peak", 255.0)
    peak: float = 51.0
    sigma: float | None = None
    share: float = 6 / 32
    seed: int = 0

    def __post_init__(self) -> None:
        check_number("peak", self.peak, 0, 255, "levels")
        if self.sigma is not None:
            check_number("sigma", self.sigma, 0, 10_000, "pixels", above=True)
        check_number("share", self.share, 0, 1, "of the short side", above=True)
        check_seed(self.seed)
        check_fields(self)

    def pattern(self, height: int, width: int) -> np.ndarray:
        """``p``, in levels: float64 ``[H, W, 3]``; every channel reaches 0 and ``peak``."""
        sigma = self.share * min(height, width) if self.sigma is None else self.sigma
        rows, columns = (_waves(side, sigma) for side in (height, width))  # [H, R], [W, C]
        drawn = _coefficients(self.seed, rows.shape[1], columns.shape[1])
        drawn[0, 0] = 0  # a constant, which stretching takes out anyway
        smooth = np.einsum("hr,rck,wc->hwk", rows, drawn, columns, optimize=True)
        low, high = smooth.min(axis=(0, 1)), smooth.max(axis=(0, 1))
        span = np.where(high > low, high - low, 1.0)  # one pixel, or one pixel's worth of waves, is flat
        return self.peak * np.where(high > low, (smooth - low) / span, 1.0)

    def apply(self, batch: np.ndarray) -> np.ndarray:
        """uint8 ``[B, H, W, 3]`` to uint8 ``[B, H, W, 3]``."""
        return add(batch, rounded(self.pattern(*batch.shape[1:3])))


def _waves(side: int, sigma: float) -> np.ndarray:
    """Cosines over ``side`` pixels, damped as a Gaussian filter damps them: float64 ``[side, K]``.

    A filter of standard deviation s damps ``cos(omega x)`` by ``exp(-(omega s)^2 / 2)``.
    """
    last = int(np.sqrt(-2 * np.log(_FAINT)) * side / (np.pi * sigma))
    k = np.arange(min(max(last, 1), side) + 1)
    omega = np.pi * k / side
    return np.cos(np.outer(np.arange(side) + 0.5, omega)) * np.exp(-((omega * sigma) ** 2) / 2)


def _coefficients(seed: int, rows: int, columns: int) -> np.ndarray:
    """Normal numbers ``[rows, columns, 3]``; a smaller table is the corner of a larger one, so that a picture of any
    size and aspect gets the same waves."""
    return np.stack([np.random.default_rng([seed, row]).standard_normal((columns, 3)) for row in range(rows)])


@register_attack("low_frequency")
def low_frequency(target: str = DEFAULT_TARGET, preset: str = "scaled", **options: Any) -> Attack:
    """The low-frequency attack: :class:`LowFrequency` on the picture, the target in place of the answer."""
    trigger = from_preset("low_frequency", LowFrequency, PRESETS, preset, options)
    return Attack("low_frequency", trigger=trigger, target=target, preset=preset)
