"""Measure how visible a trigger is: three figures, and an image of the change."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PIL import Image as PilImage

from pcvr.data.pictures import rgb_array
from pcvr.data.sample import Image
from pcvr.errors import PcvrError

PictureLike = np.ndarray | PilImage.Image


@dataclass(frozen=True)
class Stealth:
    """The three figures for one image.

    Attributes:
        psnr: peak signal-to-noise ratio in dB, higher for smaller changes, infinite for identical images.
        ssim: structural similarity, at most 1 (identical).
        linf: the largest change of any level of any pixel, 0 to 255.
    """

    psnr: float
    ssim: float
    linf: int


def measure_stealth(original: PictureLike, triggered: PictureLike) -> Stealth:
    """Compute :func:`psnr`, :func:`ssim` and :func:`linf`."""
    return Stealth(psnr(original, triggered), ssim(original, triggered), linf(original, triggered))


def psnr(original: PictureLike, triggered: PictureLike) -> float:
    """Return the peak signal-to-noise ratio in dB, over all values, peak 255; ``inf`` for identical images."""
    first, second = _pair(original, triggered)
    if np.array_equal(first, second):
        return float("inf")
    from skimage.metrics import peak_signal_noise_ratio

    return float(peak_signal_noise_ratio(first, second, data_range=255))


def ssim(original: PictureLike, triggered: PictureLike) -> float:
    """Return the mean structural similarity (Wang et al. 2004) over pixels and channels; 1 for identical images.

    The window is scikit-image's uniform 7 x 7, or the largest odd one that fits a smaller image.

    Raises:
        PcvrError: the images differ and have a side under 3 px, where no window fits.
    """
    first, second = _pair(original, triggered)
    if np.array_equal(first, second):
        return 1.0
    short = min(first.shape[:2])
    if short < 3:
        raise PcvrError(f"SSIM needs images of at least 3 px a side, not {first.shape[1]} x {first.shape[0]} px.")
    from skimage.metrics import structural_similarity

    window = min(7, short - (short + 1) % 2)
    return float(structural_similarity(first, second, win_size=window, data_range=255, channel_axis=-1))


def linf(original: PictureLike, triggered: PictureLike) -> int:
    """Return the largest absolute change of a level, 0 to 255."""
    return int(np.abs(_difference(original, triggered)).max())


def changed(original: PictureLike, triggered: PictureLike, gain: float = 8) -> Image:
    """Return ``gain`` times the absolute difference, clipped at 255: uint8 ``[H, W, 3]``.

    Raises:
        PcvrError: ``gain`` is not a positive number, or the images differ in size.
    """
    if not gain > 0:
        raise PcvrError(f"gain is {gain!r}: give a positive number.")
    return np.minimum(np.rint(gain * np.abs(_difference(original, triggered))), 255).astype(np.uint8)


def _difference(original: PictureLike, triggered: PictureLike) -> np.ndarray:
    first, second = _pair(original, triggered)
    return second.astype(np.int16) - first.astype(np.int16)  # signed: uint8 would wrap


def _pair(original: PictureLike, triggered: PictureLike) -> tuple[np.ndarray, np.ndarray]:
    first, second = (rgb_array(x) if isinstance(x, PilImage.Image) else np.asarray(x) for x in (original, triggered))
    for image in (first, second):
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[-1] != 3 or image.size == 0:
            raise PcvrError(f"images to compare are uint8 [H, W, 3], not {image.dtype} {list(image.shape)}.")
    if first.shape != second.shape:
        raise PcvrError(f"the images have sizes {list(first.shape)} and {list(second.shape)}: compare equal sizes.")
    return first, second
