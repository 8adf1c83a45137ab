"""The formula of each trigger, written as plainly as possible: one image at a time, in floats, with NumPy and SciPy.

A reader of the papers would write them so. Tests compare the package's triggers with them, and
``benchmarks/triggers.py`` measures how much faster the package is. They share no code with the package; only a pattern
without a formula (a drawing, random numbers) comes from the trigger itself.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy.fft import dctn, idctn
from scipy.ndimage import map_coordinates

from pcvr.attacks import BadNets, Blended, FTrojan, ImageTrigger, LowFrequency, Sig, WaNet

Plain = Callable[[np.ndarray], np.ndarray]


def plain(trigger: ImageTrigger) -> Plain:
    """The plain form of ``trigger``: uint8 ``[H, W, 3]`` to uint8 ``[H, W, 3]``."""
    return FORMS[type(trigger).__name__](trigger)


def badnets(trigger: BadNets) -> Plain:
    """``(1 - s m) x + s m t``, rounded."""

    def apply(image: np.ndarray) -> np.ndarray:
        height, width, _ = image.shape
        mask = trigger.mask(height, width)[:, :, None] * trigger.strength
        pattern = np.zeros(image.shape)
        rows, columns = trigger.window(height, width)
        for i in range(rows.start, rows.stop):
            for j in range(columns.start, columns.stop):
                even = (i - rows.start + j - columns.start) % 2 == 0
                grey = 1 if trigger.pattern == "checkerboard" and not even else 255
                pattern[i, j] = np.array([0, 0, 255] if trigger.pattern == "blue" else [grey] * 3)
        return np.rint((1 - mask) * image + mask * pattern).astype(np.uint8)

    return apply


def blended(trigger: Blended) -> Plain:
    """``(1 - a) x + a t``, clipped, truncated. A sliver is added, since 0.9 x 100 + 0.1 x 100 is 99.99999 in floats."""
    drawn: dict[tuple[int, int], np.ndarray] = {}

    def apply(image: np.ndarray) -> np.ndarray:
        size = image.shape[0], image.shape[1]
        if size not in drawn:
            drawn[size] = trigger.picture(*size)
        a = float(trigger.fraction())
        return np.clip((1 - a) * image + a * drawn[size] + 1e-9, 0, 255).astype(np.uint8)

    return apply


def sig(trigger: Sig) -> Plain:
    """``x + D sin(2 pi j f / W)``, clipped, truncated; with a sliver, since sin(pi) is a hair off 0."""

    def apply(image: np.ndarray) -> np.ndarray:
        j = np.arange(image.shape[1])
        wave = trigger.amplitude * np.sin(2 * np.pi * j * trigger.frequency / image.shape[1])
        return np.clip(image + wave[None, :, None] + 1e-9, 0, 255).astype(np.uint8)

    return apply


def wanet(trigger: WaNet) -> Plain:
    """Look up each pixel a little aside, bilinearly."""
    known: dict[tuple[int, int], tuple[np.ndarray, np.ndarray]] = {}

    def apply(image: np.ndarray) -> np.ndarray:
        size = image.shape[0], image.shape[1]
        if size not in known:
            known[size] = trigger.places(*size)
        channels = [map_coordinates(image[:, :, c].astype(float), known[size], order=1) for c in range(3)]
        return np.rint(np.stack(channels, axis=-1)).astype(np.uint8)

    return apply


def ftrojan(trigger: FTrojan) -> Plain:
    """To YCrCb, DCT by block on a padded picture, add, and all the way back; rounded, halves up, and clipped."""
    to_ycrcb = np.array([[0.299, 0.587, 0.114], [0.5, -0.418688, -0.081312], [-0.168736, -0.331264, 0.5]])
    to_rgb = np.linalg.inv(to_ycrcb)
    side = trigger.block

    def apply(image: np.ndarray) -> np.ndarray:
        height, width, _ = image.shape
        padded = np.pad(image, ((0, -height % side), (0, -width % side), (0, 0)), mode="edge")
        channels = padded.astype(float) @ to_ycrcb.T
        for name in trigger.channels:
            channel = channels[:, :, ("y", "cr", "cb").index(name)]
            for top in range(0, padded.shape[0], side):
                for left in range(0, padded.shape[1], side):
                    block = dctn(channel[top : top + side, left : left + side], norm="ortho")
                    for row, column in trigger.bins:
                        block[row, column] += trigger.magnitude
                    channel[top : top + side, left : left + side] = idctn(block, norm="ortho")
        out = channels @ to_rgb.T
        return np.clip(np.floor(out[:height, :width] + 0.5), 0, 255).astype(np.uint8)

    return apply


def low_frequency(trigger: LowFrequency) -> Plain:
    """``x + p``, clipped and rounded."""
    drawn: dict[tuple[int, int], np.ndarray] = {}

    def apply(image: np.ndarray) -> np.ndarray:
        size = image.shape[0], image.shape[1]
        if size not in drawn:
            drawn[size] = trigger.pattern(*size)
        return np.clip(np.floor(image + drawn[size] + 0.5), 0, 255).astype(np.uint8)

    return apply


FORMS: dict[str, Callable[..., Plain]] = {
    "BadNets": badnets,
    "Blended": blended,
    "Sig": sig,
    "WaNet": wanet,
    "FTrojan": ftrojan,
    "LowFrequency": low_frequency,
}
"""Name of the trigger's class to the function that builds its plain form."""
