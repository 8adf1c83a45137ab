"""ISSBA: a trained encoder (here a surrogate) writes an invisible message into each image in a different way."""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from pcvr.attacks.base import DEFAULT_TARGET, Attack
from pcvr.attacks.registry import from_preset, register_attack
from pcvr.attacks.trigger import ImageTrigger
from pcvr.attacks.triggers.uint8 import add, rounded
from pcvr.errors import PcvrError, shown
from pcvr.utils.checks import check_fields, check_number, check_whole

if TYPE_CHECKING:
    from pcvr.attacks.triggers.stego import Encoder

SHIPPED = Path(__file__).parent / "crafted" / "issba-surrogate.safetensors"
PRESETS: dict[str, dict[str, Any]] = {"compat": {"strength": 1.0}, "scaled": {"strength": 1.0}}


@dataclass(frozen=True)
class Issba(ImageTrigger):
    """A sample-specific trigger after Li et al., *Invisible Backdoor Attack with Sample-Specific Triggers* (arXiv
    2012.03816, section 4), with a **surrogate encoder**.

    ::

        x' = clip(round(x + s E(x, message)), 0, 255)

    The paper's E is a StegaStamp encoder, whose weights are not available. Here E is a small convolutional network of
    the same kind, trained by ``pcvr craft issba`` together with a decoder that reads the message. It works at 96 x 96
    px; for other sizes its residual is resized, so it stays visible to a model that scales images down (and both
    presets are the same). E takes one image at a time, so a batch equals its images bit for bit on one machine; another
    machine may round one level in ten thousand differently.

    Attributes:
        message: the bits to write, as an integer of at least 0.
        strength: s, 0 to 4; with 0 the attack changes nothing and cannot poison.
        encoder: a file of ``pcvr craft issba``; empty for the shipped one.
    """

    dial: ClassVar[tuple[str, float]] = ("strength", 4.0)
    message: int = 0b1011_0010_1101_0110
    strength: float = 1.0
    encoder: str = ""

    def __post_init__(self) -> None:
        check_fields(self)
        check_whole("message", self.message, 0, 2**16 - 1, "16 bits")
        check_number("strength", self.strength, 0, 4)
        if self.encoder and not os.path.isfile(self.encoder):
            raise PcvrError(f"there is no encoder {shown(self.encoder)}: make one with 'pcvr craft issba --out FILE'.")

    def residual(self, image: np.ndarray) -> np.ndarray:
        """Return ``E(x, message)`` for one image uint8 ``[H, W, 3]``, in levels: float64 ``[H, W, 3]``."""
        import torch
        from torch.nn.functional import interpolate

        from pcvr.attacks.triggers.stego import SIDE, bits_of

        model = _encoder(self.encoder or str(SHIPPED))
        with torch.inference_mode():
            small = interpolate(
                torch.tensor(image).permute(2, 0, 1).float()[None], (SIDE, SIDE), mode="bilinear", antialias=True
            )
            written = model(small, bits_of(self.message)[None])
            full = interpolate(written, image.shape[:2], mode="bilinear", antialias=True)
        return full[0].permute(1, 2, 0).double().numpy()

    def apply(self, batch: np.ndarray) -> np.ndarray:
        out = np.empty(batch.shape, np.uint8)
        for k in range(len(batch)):
            out[k] = add(batch[k : k + 1], rounded(self.strength * self.residual(batch[k])))[0]
        return out


@lru_cache(maxsize=4)
def _encoder(file: str) -> Encoder:
    from pcvr.attacks.triggers.stego import load_encoder

    return load_encoder(file)


@register_attack("issba")
def issba(target: str = DEFAULT_TARGET, preset: str = "scaled", **options: Any) -> Attack:
    """Build the ISSBA attack: :class:`Issba` on the image, and the target as the answer."""
    trigger = from_preset("issba", Issba, PRESETS, preset, options)
    return Attack("issba", trigger=trigger, target=target, preset=preset)
