"""Exercise: the setting with the least backdoor among those that keep the utility one needs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from pcvr.teaching.core import Mistake, ask, exercise

_Case = tuple[Sequence[float], Sequence[float], float]
# ASR and utility in per cent, and the least utility: plain; the border counts; a tie in ASR; first of two equals; none.
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

    Of several with that ASR the one with the highest utility, of equals the first; -1 where no utility is enough.
    """
    found = []
    for asr, utility, least in _CASES:
        call = f"choose_setting({list(asr)}, {list(utility)}, {least})"
        found.append(_index(ask(choose, np.array(asr), np.array(utility), least, call=call), call))
    due = _all(_right)
    if found == due:
        return "The budget comes first, then the backdoor, then what is left of the utility."
    for message, rule in _MISTAKES.items():
        if found == _all(rule):
            raise Mistake(message)
    k = next(k for k, (f, want) in enumerate(zip(found, due, strict=True)) if f != want)
    asr, utility, least = _CASES[k]
    call = f"choose_setting({list(asr)}, {list(utility)}, {least})"
    none = " (none has that much)" if due[k] == -1 else ""
    raise Mistake(f"{call} gives {found[k]}, and {due[k]} is expected{none}.")


def _all(rule: _Rule) -> list[int]:
    return [rule(np.array(asr), np.array(utility), least) for asr, utility, least in _CASES]


def _right(asr: np.ndarray, utility: np.ndarray, least: float) -> int:
    return _within(asr, utility, np.flatnonzero(utility >= least))


def _within(asr: np.ndarray, utility: np.ndarray, fits: np.ndarray) -> int:
    """The right choice among some indices."""
    return int(min(fits, key=lambda i: (asr[i], -utility[i], i))) if len(fits) else -1


def _place_in_part(asr: np.ndarray, utility: np.ndarray, least: float) -> int:
    fits = np.flatnonzero(utility >= least)
    return int(np.lexsort((-utility[fits], asr[fits]))[0]) if len(fits) else -1


def _first_of_ties(asr: np.ndarray, utility: np.ndarray, least: float) -> int:
    fits = np.flatnonzero(utility >= least)
    return int(fits[asr[fits].argmin()]) if len(fits) else -1


_MISTAKES: dict[str, _Rule] = {
    "The budget is not looked at: this is the lowest ASR of all. Leave out first what has less utility than `least`.": (
        lambda asr, utility, least: int(asr.argmin())
    ),
    "The budget is not looked at: leave out first what has less utility than `least`.": (
        lambda asr, utility, least: _within(asr, utility, np.arange(len(asr)))
    ),
    "This is the highest utility: of the settings within the budget the one with the lowest ASR is asked for.": (
        lambda asr, utility, least: int(utility.argmax())
    ),
    "This is the highest utility, where there is enough: the lowest ASR within the budget is asked for.": (
        lambda asr, utility, least: int(utility.argmax()) if utility.max() >= least else -1
    ),
    "A setting with exactly the least utility is within the budget: compare with >=.": (
        lambda asr, utility, least: _within(asr, utility, np.flatnonzero(utility > least))
    ),
    "The budget is upside down: settings with a utility of `least` or more are to stay.": (
        lambda asr, utility, least: _within(asr, utility, np.flatnonzero(utility <= least))
    ),
    "This is the place within the settings that fit: turn it back into a place among all of them, fits[k].": (
        _place_in_part
    ),
    "Several settings have the lowest ASR: take the one of them with the highest utility.": _first_of_ties,
    "Where no setting has enough utility, return -1.": (
        lambda asr, utility, least: _right(asr, utility, least) if utility.max() >= least else int(utility.argmax())
    ),
    "Where no setting has enough utility, return -1, and not the lowest ASR of all.": (
        lambda asr, utility, least: _right(asr, utility, least) if utility.max() >= least else int(asr.argmin())
    ),
}


def _index(value: Any, call: str) -> int:
    array = np.asarray(value.tolist() if hasattr(value, "tolist") else value)
    if array.dtype == bool or array.dtype.kind not in "iu" or array.size != 1:
        raise Mistake(f"{call} gives {value!r}, and one index, a whole number, is expected.")
    return int(array.reshape(()))
