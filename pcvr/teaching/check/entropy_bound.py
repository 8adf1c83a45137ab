"""Exercise: the highest entropy that attention can have if a share of it lies on some tokens."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from pcvr.teaching.compare import as_array, expect
from pcvr.teaching.core import Mistake, ask, exercise

Known = dict[str, np.ndarray]
_CASES = ((0.5, 1, 64), (0.9, 1, 64), (0.9, 4, 16), (0.25, 8, 32), (0.0, 1, 64), (1.0, 1, 64), (1.0, 4, 64))


@exercise("the bound of the entropy of attention")
def entropy_bound(function: Callable[[float, int, int], Any]) -> str:
    """Check ``entropy_bound(share, on, tokens)``: the highest entropy, as a fraction of ln(tokens)."""
    for share, on, tokens in _CASES:
        call = f"entropy_bound({share:g}, {on}, {tokens})"
        with np.errstate(all="ignore"):
            got = as_array(ask(function, share, on, tokens, call=call), call)
        if np.isnan(got).any():
            raise Mistake(f"{call} returns NaN: 0 ln 0 counts as 0. scipy.special.xlogy(0, 0) gives that.")
        expect(got, np.array(_bound(share, on, tokens)), call, "a single number", _mistakes(share, on, tokens))
    return "A patch that draws all attention forces the entropy down to ln m / ln I. With m = I nothing is forced."


def _pair(share: float) -> float:
    return -sum(part * np.log(part) for part in (share, 1 - share) if part > 0)


def _bound(share: float, on: int, tokens: int) -> float:
    return float((_pair(share) + share * np.log(on) + (1 - share) * np.log(tokens - on)) / np.log(tokens))


def _mistakes(share: float, on: int, tokens: int) -> Known:
    right, most = _bound(share, on, tokens), np.log(tokens)
    wrong = {
        "The entropy is in nats: divide it by ln(tokens), its maximum.": right * most,
        "This is in bits divided by ln(tokens): use one logarithm for both.": right / np.log(2),
        "The entropy of the split itself is missing: add -s ln s - (1 - s) ln(1 - s).": right - _pair(share) / most,
        "Only the tokens of the trigger count here: the rest of the attention lies on the other tokens.": (
            (_pair(share) + share * np.log(on)) / most
        ),
        "The share is on the wrong side: s belongs to the tokens of the trigger.": _bound(1 - share, on, tokens),
        "The other tokens are tokens - on in number: the trigger's own are not among them.": (
            (_pair(share) + share * np.log(on) + (1 - share) * most) / most
        ),
        "The sign is wrong: an entropy is never negative.": -right,
    }
    return {message: np.array(value) for message, value in wrong.items() if not np.isclose(value, right)}
