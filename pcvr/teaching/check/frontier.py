"""Exercise: the settings of a grid that no other setting beats."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from pcvr.teaching.core import Mistake, ask, exercise

_Case = tuple[Sequence[float], Sequence[float]]
# ASR and utility in per cent. The third has two equal points, the fourth ties in one figure only.
_CASES: tuple[_Case, ...] = (
    ((5.0, 60.0, 0.0, 20.0, 90.0), (80.0, 90.0, 70.0, 75.0, 88.0)),
    ((3.0, 1.0, 2.0), (50.0, 90.0, 70.0)),
    ((0.0, 4.0, 0.0, 9.0, 2.0), (70.0, 85.0, 70.0, 85.0, 60.0)),
    ((10.0, 10.0, 30.0, 5.0), (60.0, 80.0, 80.0, 50.0)),
    ((40.0,), (30.0,)),
)

_Beaten = Callable[[float, float, float, float], bool]


@exercise("find the settings that no other setting beats")
def frontier(find: Callable[[Any, Any], Any]) -> str:
    """Check ``frontier(asr, utility)``: the indices, ascending, of the points that no other point beats.

    A point beats another one if it is better in one figure and no worse in the other. A lower ASR and a higher utility
    are better. Both arguments are ``[N]``.
    """
    found = []
    for asr, utility in _CASES:
        call = f"frontier({list(asr)}, {list(utility)})"
        found.append(_indices(ask(find, np.array(asr), np.array(utility), call=call), len(asr), call))
    due = [_of(case, _beaten) for case in _CASES]
    if [sorted(f) for f in found] == due:
        if found != due:
            raise Mistake("The points are correct but not in ascending order: sort the indices.")
        return "Between these points you have to choose: less backdoor or more utility."
    _name([sorted(f) for f in found])
    k = next(k for k, (f, want) in enumerate(zip(found, due, strict=True)) if sorted(f) != want)
    asr, utility = _CASES[k]
    raise Mistake(f"frontier({list(asr)}, {list(utility)}) returns {found[k]}, but {due[k]} is expected.")


def _beaten(a: float, u: float, other_a: float, other_u: float) -> bool:
    return other_a <= a and other_u >= u and (other_a < a or other_u > u)


def _of(case: _Case, beaten: _Beaten) -> list[int]:
    asr, utility = case
    n = range(len(asr))
    return [i for i in n if not any(beaten(asr[i], utility[i], asr[j], utility[j]) for j in n)]


def _name(found: list[list[int]]) -> None:
    """Raise the message of the typical mistake that gives these indices, if there is one."""
    rules: dict[str, _Beaten] = {
        "No point is left. Either none was kept (is there an append?), or a point is compared with itself and a tie is "
        "enough to remove it. A point that beats another one is strictly better in at least one of the two figures.": (
            lambda a, u, b, v: b <= a and v >= u
        ),
        "A point is kept although another one is as good in one figure and better in the other: one better figure is "
        "enough if the other one is no worse.": lambda a, u, b, v: b < a and v > u,
        "The direction of the ASR is wrong: a lower ASR is better.": lambda a, u, b, v: _beaten(-a, u, -b, v),
        "The direction of the utility is wrong: a higher utility is better.": lambda a, u, b, v: _beaten(a, -u, b, -v),
        "Both directions are wrong: these are the worst points.": (lambda a, u, b, v: _beaten(-a, -u, -b, -v)),
        "A point is removed as soon as another one is better in either figure: the other one must also be no worse in "
        "the other figure.": lambda a, u, b, v: b < a or v > u,
        "Only points with the lowest ASR are kept: a higher ASR may go with a higher utility.": lambda a, u, b, v: (
            b < a
        ),
        "Only points with the highest utility are kept: a lower utility may go with a lower ASR.": (
            lambda a, u, b, v: v > u
        ),
    }
    for message, beaten in rules.items():
        if found == [_of(case, beaten) for case in _CASES]:
            raise Mistake(message)
    rest = [sorted(set(range(len(case[0]))) - set(_of(case, _beaten))) for case in _CASES]
    if found == rest:
        raise Mistake("These are the points that are beaten: return the other points.")
    if all(_values(case, mine) == _values(case, _of(case, _beaten)) for case, mine in zip(_CASES, found, strict=True)):
        raise Mistake("Of two equal points only one is kept: neither beats the other, so keep both.")


def _values(case: _Case, indices: list[int]) -> set[tuple[float, float]]:
    return {(case[0][i], case[1][i]) for i in indices}


def _indices(value: Any, n: int, call: str) -> list[int]:
    array = np.asarray(value.tolist() if hasattr(value, "tolist") else list(value) if _iterable(value) else value)
    if array.ndim != 1:
        raise Mistake(f"{call} returns {value!r}, but a list of indices is expected.")
    if array.dtype == bool:
        raise Mistake(f"{call} returns a mask of True and False: turn it into indices with np.flatnonzero.")
    if array.size and array.dtype.kind not in "iu":
        raise Mistake(f"{call} returns {array.tolist()}, but indices must be integers: return indices, not values.")
    if array.size and (array.min() < 0 or array.max() >= n):
        raise Mistake(f"{call} returns {array.tolist()}, but the points are numbered 0 to {n - 1}.")
    if len(set(array.tolist())) < array.size:
        raise Mistake(f"{call} returns an index twice: {array.tolist()}.")
    return [int(i) for i in array]


def _iterable(value: Any) -> bool:
    return hasattr(value, "__iter__") and not isinstance(value, str)
