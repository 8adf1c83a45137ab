"""Exercise: how many test images without a hit show that a rate is below a bound."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from pcvr.teaching.core import Mistake, ask, exercise

_Rule = Callable[[float], float]
_BOUNDS = (0.01, 0.05, 0.001, 0.2)


@exercise("how many images it takes to say 'below'")
def images_needed(function: Callable[[float], Any]) -> str:
    """Check ``images_needed(bound)``: the least n with ``(1 - bound) ** n <= 0.05``."""
    found = []
    for bound in _BOUNDS:
        call = f"images_needed({bound:g})"
        found.append(_number(ask(function, bound, call=call), call))
    due = [_needed(bound) for bound in _BOUNDS]
    if found == due:
        return "About 3 / bound: the rule of three. Whoever tests on 48 images cannot say 'below 1 %'."
    for message, rule in _MISTAKES.items():
        if all(np.isclose(mine, rule(bound)) for mine, bound in zip(found, _BOUNDS, strict=True)):
            raise Mistake(message)
    k = next(k for k, (mine, want) in enumerate(zip(found, due, strict=True)) if mine != want)
    chance = (1 - _BOUNDS[k]) ** found[k]
    raise Mistake(
        f"images_needed({_BOUNDS[k]:g}) returns {found[k]:g}, but {due[k]} is expected: with {found[k]:g} images, a "
        f"model with that rate shows no hit with probability {chance:.4f}."
    )


def _exact(bound: float) -> float:
    return float(np.log(0.05) / np.log(1 - bound))


def _needed(bound: float) -> int:
    return int(np.ceil(_exact(bound)))


_MISTAKES: dict[str, _Rule] = {
    "This is the rule of three, 3 / bound, an approximation: take the least n with (1 - bound) ** n <= 0.05.": (
        lambda bound: np.ceil(np.round(3 / bound, 9))
    ),
    "The number is not rounded: images are whole, so take the next whole number (math.ceil).": _exact,
    "The number is rounded down: with one image less than needed, the chance is still above 5 %. Use math.ceil.": (
        lambda bound: np.floor(_exact(bound))
    ),
    "The number is rounded to the nearest whole one: round up (math.ceil).": lambda bound: np.round(_exact(bound)),
    "This is one image too many: stop at the first n with (1 - bound) ** n <= 0.05.": lambda bound: _needed(bound) + 1,
    "This takes bound ** n: a model misses n times in a row with probability (1 - bound) ** n.": (
        lambda bound: np.ceil(np.log(0.05) / np.log(bound))
    ),
    "This is for 99 %: no hit may have a probability of 0.05 at most, not 0.01.": (
        lambda bound: np.ceil(np.log(0.01) / np.log(1 - bound))
    ),
    "This takes 0.95 in place of 0.05: no hit has to be *unlikely* at the bound.": (
        lambda bound: np.ceil(np.log(0.95) / np.log(1 - bound))
    ),
    "This is 1 / bound, the number of images for one hit on average. No hit in so many is quite likely.": (
        lambda bound: np.ceil(np.round(1 / bound, 9))
    ),
}


def _number(value: Any, call: str) -> float:
    try:
        array = np.asarray(value.tolist() if hasattr(value, "tolist") else value, dtype=float)
    except (TypeError, ValueError):
        array = np.empty(0)
    if array.size != 1 or isinstance(value, bool) or not np.isfinite(array).all():
        raise Mistake(f"{call} returns {value!r}, but one whole number is expected.")
    return float(array.reshape(()))
