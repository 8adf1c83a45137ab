"""Exercise: the defence whose worst attack is the least bad, from a table with gaps."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from pcvr.teaching.core import Mistake, ask, exercise

_Case = tuple[np.ndarray, np.ndarray]
_Rule = Callable[[np.ndarray, np.ndarray], int]
_TOOK = 0.9


@exercise("choose a defence by its worst attack")
def safest_defence(choose: Callable[[Any, Any], Any]) -> str:
    """Check ``safest_defence(undefended, defended)``: rates ``[A]`` and ``[D, A]`` -> the row with the lowest maximum.

    Attacks with less than 0.9 without a defence did not take and do not count. NaN was not run: a row with a gap at an
    attack that counts cannot be chosen. -1 if no row can.
    """
    found: list[int] = []
    for undefended, defended in _CASES:
        call = "safest_defence(undefended, defended)"
        value = ask(choose, undefended.copy(), defended.copy(), call=call, begun=bool(found))
        found.append(_row(value, len(defended), call))
    due = [_right(*case) for case in _CASES]
    if found == due:
        return "An attacker chooses the attack, so a defence is worth what it is worth at its worst."
    for message, rule in _MISTAKES.items():
        if found == [rule(*case) for case in _CASES]:
            raise Mistake(message)
    k = next(k for k, (mine, want) in enumerate(zip(found, due, strict=True)) if mine != want)
    undefended, defended = _CASES[k]
    raise Mistake(
        f"For undefended = {undefended.tolist()} and defended = {defended.tolist()} it returns {found[k]}, but "
        f"{due[k]} is expected."
    )


_NOT_RUN = float("nan")
_CASES: tuple[_Case, ...] = (
    # Row 0 has the lowest mean, row 1 the lowest maximum; row 2 is worst where it counts.
    (np.array([1.0, 0.95, 0.98]), np.array([[0.0, 0.0, 0.5], [0.2, 0.25, 0.2], [0.3, 0.6, 0.1]])),
    # The second attack did not take (with it, row 1 would win), and the third took by a hair (without it, row 2).
    (np.array([0.99, 0.4, 0.9]), np.array([[0.3, 0.9, 0.2], [0.6, 0.0, 0.7], [0.1, 0.8, 0.45]])),
    # Row 0 has a gap where it counts, row 1 one where it does not.
    (np.array([0.97, 0.95, 0.2]), np.array([[0.0, _NOT_RUN, 0.0], [0.3, 0.2, _NOT_RUN], [0.1, 0.9, 0.0]])),
    # Nobody was run against everything that took.
    (np.array([0.97, 0.95]), np.array([[0.0, _NOT_RUN], [_NOT_RUN, 0.1]])),
)


def _worst(undefended: np.ndarray, defended: np.ndarray, least: float = _TOOK) -> np.ndarray:
    return np.asarray(defended[:, undefended >= least].max(1))


def _right(undefended: np.ndarray, defended: np.ndarray) -> int:
    return _lowest(_worst(undefended, defended))


def _lowest(worst: np.ndarray) -> int:
    return int(np.nanargmin(worst)) if np.isfinite(worst).any() else -1


def _gaps_as_zero(undefended: np.ndarray, defended: np.ndarray) -> int:
    return _lowest(_worst(undefended, np.nan_to_num(defended)))


_MISTAKES: dict[str, _Rule] = {
    "This chooses by the mean over the attacks: an attacker chooses the attack, so take each row's maximum.": (
        lambda undefended, defended: _lowest(defended[:, undefended >= _TOOK].mean(1))
    ),
    "This chooses by the mean over all attacks: take each row's maximum, over the attacks that took.": (
        lambda undefended, defended: _lowest(defended.mean(1))
    ),
    "Attacks that did not take count here: leave out columns with less than 0.9 without a defence.": (
        lambda undefended, defended: _lowest(defended.max(1))
    ),
    "What was not run is skipped or counts as 0: a row with a gap at an attack that took is not safe.": _gaps_as_zero,
    "If no row was run against every attack that took, return -1.": (
        lambda undefended, defended: max(_right(undefended, defended), 0)
    ),
    "This is the defence with the highest maximum: the lowest is the safest.": (
        lambda undefended, defended: _lowest(-_worst(undefended, defended))
    ),
    "This chooses by each row's best attack: take its maximum.": (
        lambda undefended, defended: _lowest(np.nan_to_num(defended[:, undefended >= _TOOK], nan=1.0).min(1))
    ),
    "An attack with exactly 0.9 took: compare with >=.": (
        lambda undefended, defended: _lowest(defended[:, undefended > _TOOK].max(1))
    ),
}


def _row(value: Any, rows: int, call: str) -> int:
    array = np.asarray(value.tolist() if hasattr(value, "tolist") else value)
    if array.size != 1 or array.dtype.kind not in "iu":
        raise Mistake(f"{call} returns {value!r}, but one row number (an integer) is expected, or -1.")
    row = int(array.reshape(()))
    if not -1 <= row < rows:
        raise Mistake(f"{call} returns {row}, but the rows are numbered 0 to {rows - 1}.")
    return row
