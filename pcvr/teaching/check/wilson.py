"""Exercise: an attack success rate with its confidence interval."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from pcvr.teaching.compare import as_array, expect
from pcvr.teaching.core import ask, exercise

_Z = 1.96
_CASES = ((47, 64), (0, 48), (48, 48), (3, 256), (1, 2))


@exercise("the Wilson interval of an attack success rate")
def wilson(function: Callable[[int, int], Any]) -> str:
    """Check ``wilson(hits, n)``: the lower and the upper end of the 95 % Wilson interval, as fractions."""
    for hits, n in _CASES:
        call = f"wilson({hits}, {n})"
        with np.errstate(all="ignore"):
            got = as_array(ask(function, hits, n, call=call), call)
        expect(got, _ends(hits, n), call, "two numbers, lower and upper end", _mistakes(hits, n), 1e-3)
    return "With no hit in 48 images the upper end is still 7 %: few images prove little."


def _ends(hits: int, n: int, z: float = _Z) -> np.ndarray:
    rate, shrink = hits / n, 1 + z**2 / n
    middle = (rate + z**2 / (2 * n)) / shrink
    half = z / shrink * np.sqrt(rate * (1 - rate) / n + z**2 / (4 * n**2))
    return np.array([middle - half, middle + half])


def _mistakes(hits: int, n: int) -> dict[str, np.ndarray]:
    right, rate = _ends(hits, n), hits / n
    normal = _Z * np.sqrt(rate * (1 - rate) / n)
    middle = (rate + _Z**2 / (2 * n)) / (1 + _Z**2 / n)
    half = (right[1] - right[0]) / 2
    wrong = {
        "This is the textbook interval, rate plus or minus 1.96 standard errors. With no hit it has the width 0.": (
            np.array([rate - normal, rate + normal])
        ),
        "The ends are exchanged: give the lower one first.": right[::-1],
        "The ends are in per cent: give fractions, from 0 to 1.": 100 * right,
        "The interval is centred at the rate: Wilson's centre is pulled towards 1/2.": np.array(
            [rate - half, rate + half]
        ),
        "These are centre and half width: return centre - half and centre + half.": np.array([middle, half]),
        "Both parts have to be divided by 1 + z² / n.": right * (1 + _Z**2 / n),
        "The root is missing: half the width is a standard error, not a variance.": np.array(
            [
                middle - _Z / (1 + _Z**2 / n) * (rate * (1 - rate) / n + _Z**2 / (4 * n**2)),
                middle + _Z / (1 + _Z**2 / n) * (rate * (1 - rate) / n + _Z**2 / (4 * n**2)),
            ]
        ),
        "z is 1 here (68 %): a 95 % interval takes z = 1.96.": _ends(hits, n, 1.0),
        "z is 1.645 here (one side, or 90 %): a 95 % interval takes z = 1.96.": _ends(hits, n, 1.645),
        "z is 2.576 here (99 %): a 95 % interval takes z = 1.96.": _ends(hits, n, 2.576),
    }
    return {message: value for message, value in wrong.items() if not np.allclose(value, right, atol=2e-3)}
