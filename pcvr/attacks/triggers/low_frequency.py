"""Low-frequency: a smooth haze over the whole image, without the high frequencies that reveal other triggers."""

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
_FAINT = 1e-3  # coefficients damped below this fraction are dropped


@dataclass(frozen=True)
class LowFrequency(ImageTrigger):
    """A smooth additive pattern after Zeng et al., *Rethinking the Backdoor Attacks' Triggers: A Frequency Perspective*
    (arXiv 2104.03413, section 5).

    With a pattern ``p`` from 0 to ``peak`` levels in each channel::

        x' = clip(round(x + p), 0, 255)

    The paper finds ``p`` for a data set and a classifier by bilevel optimisation under a Gaussian low-pass filter. Here
    ``p`` is Gaussian noise from a seed, filtered in the same way (as damped cosine coefficients, so it is the same
    image at every resolution) and stretched to 0 to ``peak``: as smooth, but not optimised. Published code truncates
    the sum; both presets round it, since our own pattern has no published levels to match. A third of the published
    patterns lie in [0, 0.2] while images go to 255, so they change no level; `poison` raises for such a trigger.

    ``compat`` uses a filter of 6 px at every size, ``scaled`` 6/32 of the short side.

    Attributes:
        peak: the largest level added, 0 to 255.
        sigma: standard deviation of the filter in pixels, above 0; None takes it from ``share``.
        share: the same as a fraction of the short side, in (0, 1]; used when ``sigma`` is None.
        seed: of the pattern, an integer of at least 0.
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
        """Draw ``p``, in levels: float64 ``[H, W, 3]``; every channel reaches 0 and ``peak``."""
        sigma = self.share * min(height, width) if self.sigma is None else self.sigma
        rows, columns = (_waves(side, sigma) for side in (height, width))  # [H, R], [W, C]
        drawn = _coefficients(self.seed, rows.shape[1], columns.shape[1])
        drawn[0, 0] = 0  # a constant, which stretching removes anyway
        smooth = np.einsum("hr,rck,wc->hwk", rows, drawn, columns, optimize=True)
        low, high = smooth.min(axis=(0, 1)), smooth.max(axis=(0, 1))
        span = np.where(high > low, high - low, 1.0)  # a single pixel is flat
        return self.peak * np.where(high > low, (smooth - low) / span, 1.0)

    def apply(self, batch: np.ndarray) -> np.ndarray:
        return add(batch, rounded(self.pattern(*batch.shape[1:3])))


def _waves(side: int, sigma: float) -> np.ndarray:
    """Return cosines over ``side`` pixels, damped like by a Gaussian filter: float64 ``[side, K]``.

    A filter of standard deviation s damps ``cos(omega x)`` by ``exp(-(omega s)^2 / 2)``.
    """
    last = int(np.sqrt(-2 * np.log(_FAINT)) * side / (np.pi * sigma))
    k = np.arange(min(max(last, 1), side) + 1)
    omega = np.pi * k / side
    return np.cos(np.outer(np.arange(side) + 0.5, omega)) * np.exp(-((omega * sigma) ** 2) / 2)


def _coefficients(seed: int, rows: int, columns: int) -> np.ndarray:
    """Draw normal numbers ``[rows, columns, 3]``. A smaller table is the corner of a larger one, so images of any size
    and aspect have the same waves."""
    return np.stack([np.random.default_rng([seed, row]).standard_normal((columns, 3)) for row in range(rows)])


@register_attack("low_frequency")
def low_frequency(target: str = DEFAULT_TARGET, preset: str = "scaled", **options: Any) -> Attack:
    """Build the low-frequency attack: :class:`LowFrequency` on the image, and the target as the answer."""
    trigger = from_preset("low_frequency", LowFrequency, PRESETS, preset, options)
    return Attack("low_frequency", trigger=trigger, target=target, preset=preset)
