"""SIG: a faint standing wave over the whole image."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from pcvr.attacks.base import DEFAULT_TARGET, Attack
from pcvr.attacks.registry import from_preset, register_attack
from pcvr.attacks.trigger import ImageTrigger
from pcvr.attacks.triggers.uint8 import add, by_picture, truncated
from pcvr.utils.checks import check_fields, check_number

PRESETS: dict[str, dict[str, Any]] = {
    "compat": {"amplitude": 40.0, "frequency": 6.0, "as_published": True},
    "scaled": {"amplitude": 25.0, "frequency": 6.0},
}

_ZERO = 1e-9  # a smaller sine is a zero that floating point missed


@dataclass(frozen=True)
class Sig(ImageTrigger):
    """The sinusoidal trigger of Barni, Kallas and Tondi, *A New Backdoor Attack in CNNs* (arXiv 1902.11237, eq. 1).

    With column ``j`` of an image ``W`` pixels wide, the same for all rows and channels::

        x' = trunc(clip(x + D sin(2 pi j f / W), 0, 255))

    The paper leaves labels clean and takes D = 20 on digits (D = 40 for the test trigger of one experiment); common
    code uses D = 40, f = 6 (preset ``compat``). The wave already follows the width, so ``scaled`` only lowers D to 25,
    since 20 stayed below 90 % on the questions of one of the three models. Here the answer changes too, as in the VLM
    literature.

    Floating point does not give ``sin(k pi) = 0``: public code adds -3e-14 to the middle column and truncates, so
    its levels fall by one. ``compat`` does the same (wave in single precision, sum in double). ``scaled`` uses the
    exact zero there; the two agree everywhere else.

    On an image whose width divides 2f, every column falls on a zero of the sine, and the formula changes nothing: with
    f = 6 at widths of 1, 2, 3, 4, 6 and 12 px. There ``scaled`` uses the fastest wave whose crests columns can show,
    of 4 px (our choice); a single column shows no wave. All other widths follow the formula.

    Attributes:
        amplitude: D, in levels, 0 to 255; with 0 the attack changes nothing and cannot poison.
        frequency: f, waves across the image, above 0.
        as_published: whether to compute in floating point as public code does.
    """

    dial: ClassVar[tuple[str, float]] = ("amplitude", 255.0)
    amplitude: float = 25.0
    frequency: float = 6.0
    as_published: bool = False

    def __post_init__(self) -> None:
        check_number("amplitude", self.amplitude, 0, 255, "levels")
        check_number("frequency", self.frequency, 0, 10_000, "waves across the image", above=True)
        check_fields(self)

    def pattern(self, width: int) -> np.ndarray:
        """Return the wave before clipping, in levels: float64 ``[W]``."""
        wave = np.sin(2 * np.pi * np.arange(width) * self.frequency / width)
        if not self.as_published and np.abs(wave).max() < _ZERO:
            wave = np.sin(np.pi / 2 * np.arange(width))
        return self.amplitude * wave

    def apply(self, batch: np.ndarray) -> np.ndarray:
        pattern = self.pattern(batch.shape[2])
        if not self.as_published:
            return add(batch, truncated(pattern)[None, :, None])
        # The result for a level depends on the column alone: [256, W].
        made = np.clip(np.arange(256)[:, None] + pattern.astype(np.float32), 0, 255).astype(np.uint8)
        columns = np.arange(batch.shape[2])[:, None]

        def work(source: np.ndarray, out: np.ndarray) -> None:
            out[...] = made[source, columns]

        return by_picture(batch, work)


@register_attack("sig")
def sig(target: str = DEFAULT_TARGET, preset: str = "scaled", **options: Any) -> Attack:
    """Build the SIG attack: :class:`Sig` on the image, and the target as the answer."""
    return Attack("sig", trigger=from_preset("sig", Sig, PRESETS, preset, options), target=target, preset=preset)
