"""Exercise: is the difference of two attack success rates larger than chance?"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from pcvr.evaluation.intervals import errors_apart as reference
from pcvr.teaching.compare import as_array, expect
from pcvr.teaching.core import Mistake, ask, exercise

_CASES = ((468, 512, 18, 512), (18, 512, 205, 512), (15, 512, 18, 512), (3, 64, 40, 495), (0, 512, 0, 495))


@exercise("the difference of two rates, in standard errors")
def errors_apart(function: Callable[[int, int, int, int], Any]) -> str:
    """Check ``errors_apart(hits, n, other_hits, other_n)``: the pooled two-proportion z; 0 where nothing was hit."""
    for case in _CASES:
        call = f"errors_apart{case}"
        with np.errstate(all="ignore"):
            try:
                got = as_array(ask(function, *case, call=call), call)
            except Mistake as mistake:
                if "ZeroDivisionError" in str(mistake) and not any(case[::2]):
                    raise Mistake(f"{call} divides 0 by 0: if neither attack hits once, return 0.") from None
                raise
        if not np.isfinite(got).all():
            raise Mistake(f"{call} returns {got}: if neither attack hits once, the standard error is 0. Return 0.")
        expect(got, np.asarray(reference(*case)), call, "a single number", _mistakes(*case))
    return "Below 2 or 3 standard errors, other test images could turn the order around; and another seed sooner still."


def _mistakes(hits: int, n: int, other: int, m: int) -> dict[str, np.ndarray]:
    if not hits and not other:
        return {}
    p, q, r = hits / n, other / m, (hits + other) / (n + m)
    error = (r * (1 - r) * (1 / n + 1 / m)) ** 0.5
    found = {
        "The sign is lost: no absolute value, so that you see which rate is higher.": abs(p - q) / error,
        "The sign is wrong: it is above 0 if the first rate is the higher one.": (q - p) / error,
        "This is the difference of the rates: divide it by its standard error.": p - q,
        "This is the standard error alone: divide the difference of the rates by it.": error,
        "The square root is missing: r (1 - r) (1 / n + 1 / m) is the variance.": (p - q) / error**2,
        "These are the hits, not the rates: divide each by its own number of images.": (hits - other) / error,
        "The rates are not pooled: under the question asked here both samples have one rate, r.": (
            (p - q) / (p * (1 - p) / n + q * (1 - q) / m) ** 0.5
        ),
        "The standard error uses only one of the numbers of images: 1 / n + 1 / m.": (
            (p - q) / (r * (1 - r) / n) ** 0.5
        ),
        "The pooled rate is the mean of the rates: pool the hits, (hits + other_hits) / (n + other_n).": (
            (p - q) / ((p + q) / 2 * (1 - (p + q) / 2) * (1 / n + 1 / m)) ** 0.5
        ),
    }
    right = reference(hits, n, other, m)
    return {message: np.asarray(value) for message, value in found.items() if not np.isclose(value, right)}
