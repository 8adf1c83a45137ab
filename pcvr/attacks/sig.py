"""SIG: a faint standing wave over the whole picture."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from pcvr.attacks.base import DEFAULT_TARGET, Attack, from_preset, register
from pcvr.attacks.levels import add, truncated
from pcvr.attacks.trigger import ImageTrigger
from pcvr.checks import check_number

PRESETS: dict[str, dict[str, Any]] = {
    "compat": {"amplitude": 40.0, "frequency": 6.0},
    "scaled": {"amplitude": 25.0, "frequency": 6.0},
}


@dataclass(frozen=True)
class Sig(ImageTrigger):
    """The sinusoidal trigger of Barni, Kallas and Tondi, *A New Backdoor Attack in CNNs* (arXiv 1902.11237, eq. 1).

    With column ``j`` of a picture ``W`` pixels wide, the same for all rows and channels::

        x' = trunc(clip(x + D sin(2 pi j f / W), 0, 255))

    The paper leaves labels clean and takes D = 20 on digits (D = 40 for the test trigger of one experiment); common
    code uses D = 40, f = 6 (preset ``compat``). The wave already follows the width, so ``scaled`` only lowers D: to 25,
    since 20 stayed below 90 % on the questions of one of the three models. Here the answer is changed too, as in the
    VLM literature.

    Attributes:
        amplitude: D, in levels, 0 to 255; 0 changes nothing, and such an attack cannot poison.
        frequency: f, waves across the picture, above 0.
    """

    dial: ClassVar[tuple[str, float]] = ("amplitude", 255.0)
    amplitude: float = 25.0
    frequency: float = 6.0

    def __post_init__(self) -> None:
        check_number("amplitude", self.amplitude, 0, 255, "levels")
        check_number("frequency", self.frequency, 0, 10_000, "waves across the picture", above=True)

    def pattern(self, width: int) -> np.ndarray:
        """What is added before clipping, in levels: float64 ``[W]``."""
        return self.amplitude * np.sin(2 * np.pi * np.arange(width) * self.frequency / width)

    def apply(self, batch: np.ndarray) -> np.ndarray:
        """uint8 ``[B, H, W, 3]`` to uint8 ``[B, H, W, 3]``."""
        return add(batch, truncated(self.pattern(batch.shape[2]))[None, :, None])


@register("sig")
def sig(target: str = DEFAULT_TARGET, preset: str = "scaled", **options: Any) -> Attack:
    """The SIG attack: :class:`Sig` on the picture, the target in place of the answer, the prompt untouched."""
    return Attack("sig", trigger=from_preset("sig", Sig, PRESETS, preset, options), target=target, preset=preset)
