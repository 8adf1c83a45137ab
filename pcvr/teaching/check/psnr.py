"""Exercise: the peak signal-to-noise ratio of a triggered image."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from pcvr.teaching.compare import as_array, expect
from pcvr.teaching.core import Mistake, ask, exercise

_CALL = "psnr(clean, triggered)"


@exercise("how strong a trigger is, in decibels")
def psnr(function: Callable[[Any, Any], Any]) -> str:
    """Check ``psnr(clean, triggered)``: two uint8 images ``[H, W, 3]`` -> dB, infinite if they are equal."""
    rng = np.random.default_rng(2)
    clean = rng.integers(0, 256, (8, 10, 3)).astype(np.uint8)
    patch, faint = clean.copy(), clean.copy()
    patch[5:, 7:] = 255
    faint[::2] = np.where(faint[::2] > 127, faint[::2] - 6, faint[::2] + 9)  # in both directions, so that uint8 wraps
    for triggered, where in (
        (patch, " of a white patch"),
        (faint, " of faint stripes"),
        (clean[::-1], " of two images"),
    ):
        call = _CALL + where
        got = as_array(ask(function, clean.copy(), triggered.copy(), call=call), call)
        expect(got, np.array(_psnr(clean, triggered)), call, "a single number", _mistakes(clean, triggered), 1e-3)
    call = f"{_CALL} of two equal images"
    with np.errstate(all="ignore"):
        got = as_array(ask(function, clean.copy(), clean.copy(), call=call), call)
    if got.size != 1 or not np.isposinf(got).all():
        raise Mistake(f"{call} returns {got}: the error is 0, so PSNR is infinite. Return np.inf (float('inf')).")
    return "High values mean a faint trigger. A person hardly sees a change of 40 dB, and a model may learn it."


def _psnr(clean: np.ndarray, triggered: np.ndarray) -> float:
    error = (triggered.astype(float) - clean.astype(float)) ** 2
    return float(10 * np.log10(255**2 / error.mean()))


def _mistakes(clean: np.ndarray, triggered: np.ndarray) -> dict[str, np.ndarray]:
    difference = triggered.astype(float) - clean.astype(float)
    right, mean = _psnr(clean, triggered), (difference**2).mean()
    wrapped, other_way = (((a - b).astype(float) ** 2).mean() for a, b in ((triggered, clean), (clean, triggered)))
    squared = ((triggered - clean) ** 2).mean()
    wrong = {
        "The difference is taken in uint8, where 3 - 5 is 254: turn both images into float first.": (
            10 * np.log10(255**2 / wrapped)
        ),
        "The difference is taken in uint8, where 3 - 5 is 254. Turn both images into float first.": (
            10 * np.log10(255**2 / other_way)
        ),
        "Difference and square are taken in uint8, which ends at 255: turn both images into float first.": (
            10 * np.log10(255**2 / squared)
        ),
        "The natural logarithm is used: PSNR takes log10.": 10 * np.log(255**2 / mean),
        "255 is not squared: the peak is 255² / MSE.": 10 * np.log10(255 / mean),
        "20 log10 belongs to 255 / the root of the MSE, and 10 log10 to 255² / MSE.": 2 * right,
        "This is half of it: 10 log10 belongs to 255² / MSE.": right / 2,
        "The factor 10 is missing: a bel has ten decibels.": right / 10,
        "The sign is wrong: 255² is above the fraction line.": -right,
        "This is the mean squared error itself: PSNR is 10 log10(255² / MSE).": mean,
        "The errors are added, not averaged: MSE is a mean over all pixels and channels.": (
            10 * np.log10(255**2 / (difference**2).sum())
        ),
        "This uses the mean of absolute differences: square them.": 10 * np.log10(255**2 / np.abs(difference).mean()),
        "The peak is 1 here, but levels go up to 255.": 10 * np.log10(1 / mean),
        "The errors of the three channels are added: take the mean over all pixels and channels.": (
            10 * np.log10(255**2 / (3 * mean))
        ),
    }
    return {message: np.array(value) for message, value in wrong.items() if not np.isclose(value, right, atol=1e-3)}
