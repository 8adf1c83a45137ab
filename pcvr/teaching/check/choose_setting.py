"""Exercise: the setting with the lowest ASR among those with enough utility."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from pcvr.teaching.core import Mistake, NotDone, ask, exercise

_Case = tuple[Sequence[float], Sequence[float], float]
# ASR and utility in per cent, and the least utility: plain; exactly the least; a tie in ASR; two equal ones; none fits.
_CASES: tuple[_Case, ...] = (
    ((30.0, 0.0, 8.0, 12.0), (95.0, 60.0, 85.0, 90.0), 80.0),
    ((20.0, 5.0, 40.0), (90.0, 80.0, 99.0), 80.0),
    ((3.0, 0.0, 0.0, 0.0), (99.0, 81.0, 92.0, 70.0), 80.0),
    ((7.0, 2.0, 2.0), (70.0, 88.0, 88.0), 75.0),
    ((1.0, 2.0), (50.0, 60.0), 80.0),
)
_Rule = Callable[[np.ndarray, np.ndarray, float], int]


@exercise("choose a setting within a utility budget")
def choose_setting(choose: Callable[[Any, Any, float], Any]) -> str:
    """Check ``choose_setting(asr, utility, least)``: the index of the lowest ASR among utilities of `least` or more.

    Among several with that ASR, the one with the highest utility; among equals, the first; -1 if no utility suffices.
    """
    found = []
    for asr, utility, least in _CASES:
        call = f"choose_setting({list(asr)}, {list(utility)}, {least})"
        try:
            found.append(_index(ask(choose, np.array(asr), np.array(utility), least, call=call), call))
        except NotDone:
            if not found:
                raise
            nothing = " If no setting has enough utility, return -1." if max(utility) < least else ""
            raise Mistake(f"{call} returns None: each case needs a return.{nothing}") from None
    due = _all(_right)
    if found == due:
        return "First comes the budget, then the lowest ASR, then the highest utility."
    for message, rule in _MISTAKES.items():
        if found == _all(rule):
            raise Mistake(message)
    k = next(k for k, (f, want) in enumerate(zip(found, due, strict=True)) if f != want)
    asr, utility, least = _CASES[k]
    call = f"choose_setting({list(asr)}, {list(utility)}, {least})"
    none = " (no setting has that much utility)" if due[k] == -1 else ""
    raise Mistake(f"{call} returns {found[k]}, but {due[k]} is expected{none}.")


def _all(rule: _Rule) -> list[int]:
    return [rule(np.array(asr), np.array(utility), least) for asr, utility, least in _CASES]


def _right(asr: np.ndarray, utility: np.ndarray, least: float) -> int:
    return _within(asr, utility, np.flatnonzero(utility >= least))


def _within(asr: np.ndarray, utility: np.ndarray, fits: np.ndarray) -> int:
    """Return the correct choice among some indices."""
    return int(min(fits, key=lambda i: (asr[i], -utility[i], i))) if len(fits) else -1


def _place_in_part(asr: np.ndarray, utility: np.ndarray, least: float) -> int:
    fits = np.flatnonzero(utility >= least)
    return int(np.lexsort((-utility[fits], asr[fits]))[0]) if len(fits) else -1


def _first_of_ties(asr: np.ndarray, utility: np.ndarray, least: float) -> int:
    fits = np.flatnonzero(utility >= least)
    return int(fits[asr[fits].argmin()]) if len(fits) else -1


_MISTAKES: dict[str, _Rule] = {
    "The budget is ignored: this is the lowest ASR of all. Leave out settings with less utility than `least` first.": (
        lambda asr, utility, least: int(asr.argmin())
    ),
    "The budget is ignored: leave out settings with less utility than `least` first.": (
        lambda asr, utility, least: _within(asr, utility, np.arange(len(asr)))
    ),
    "This is the highest utility: choose the lowest ASR among the settings within the budget.": (
        lambda asr, utility, least: int(utility.argmax())
    ),
    "This is the highest utility if it is enough: choose the lowest ASR within the budget.": (
        lambda asr, utility, least: int(utility.argmax()) if utility.max() >= least else -1
    ),
    "A setting with exactly the least utility is within the budget: compare with >=.": (
        lambda asr, utility, least: _within(asr, utility, np.flatnonzero(utility > least))
    ),
    "The comparison is reversed: keep the settings with a utility of `least` or more.": (
        lambda asr, utility, least: _within(asr, utility, np.flatnonzero(utility <= least))
    ),
    "This is an index into the settings that fit: turn it into an index into all settings, fits[k].": (_place_in_part),
    "Several settings have the lowest ASR: take the one with the highest utility.": _first_of_ties,
    "If no setting has enough utility, return -1.": (
        lambda asr, utility, least: _right(asr, utility, least) if utility.max() >= least else int(utility.argmax())
    ),
    "If no setting has enough utility, return -1, not the lowest ASR of all.": (
        lambda asr, utility, least: _right(asr, utility, least) if utility.max() >= least else int(asr.argmin())
    ),
}


def _index(value: Any, call: str) -> int:
    array = np.asarray(value.tolist() if hasattr(value, "tolist") else value)
    if array.dtype == bool or array.dtype.kind not in "iu" or array.size != 1:
        raise Mistake(f"{call} returns {value!r}, but one index (an integer) is expected.")
    return int(array.reshape(()))
