"""Exercise: how much each hyperparameter changes the result, from settings that differ in it alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from pcvr.teaching.compare import as_array, expect
from pcvr.teaching.core import ask, exercise

_CALL = "knob_effects(settings, asr)"


@exercise("which hyperparameter changes the attack success most")
def knob_effects(function: Callable[[Any, Any], Any]) -> str:
    """Check ``knob_effects(settings, asr)``: ``[N, K]`` values and ``[N]`` rates -> ``[K]`` greatest differences.

    For each knob: the greatest difference in the rate between two settings that differ in this knob and in no other;
    0 if there are none.
    """
    for settings, asr, where in _cases():
        call = _CALL + where
        got = as_array(ask(function, settings.copy(), asr.copy(), call=call), call)
        expect(got, _effects(settings, asr), call, "[K]: one number a knob", _mistakes(settings, asr))
    return "You compared like with like. A mean over an incomplete grid mixes the effects of several knobs."


def _cases() -> list[tuple[np.ndarray, np.ndarray, str]]:
    settings = np.array([[0.3, 4, 0], [0.9, 4, 0], [0.9, 0, 0], [0.9, 4, 1], [0.3, 0, 1], [0.6, 4, 0]], dtype=float)
    asr = np.array([32.0, 2.0, 10.0, 3.0, 95.0, 5.0])
    alone = np.array([[1.0, 5.0], [2.0, 5.0], [3.0, 6.0]])
    return [(settings, asr, ""), (alone, np.array([50.0, 10.0, 90.0]), " where no two settings differ in knob 1 alone")]


def _pairs(settings: np.ndarray, knob: int, strict: bool = True) -> np.ndarray:
    """Which pairs differ in a knob and, if `strict`, in no other, bool ``[N, N]``."""
    differ = settings[:, None] != settings[None]
    others = np.delete(differ, knob, axis=-1).any(-1)
    return np.asarray(differ[..., knob] & ~(others & strict))


def _effects(settings: np.ndarray, asr: np.ndarray, strict: bool = True) -> np.ndarray:
    gaps = np.abs(asr[:, None] - asr[None])
    return np.array([np.where(_pairs(settings, k, strict), gaps, 0).max() for k in range(settings.shape[1])])


def _mistakes(settings: np.ndarray, asr: np.ndarray) -> dict[str, np.ndarray]:
    right, knobs = _effects(settings, asr), range(settings.shape[1])
    gaps = asr[:, None] - asr[None]
    groups = [[asr[settings[:, k] == value] for value in np.unique(settings[:, k])] for k in knobs]
    means = [np.ptp([group.mean() for group in each]) for each in groups]
    medians = [np.ptp([np.median(group) for group in each]) for each in groups]
    later = np.triu(np.ones(gaps.shape, dtype=bool))
    wrong = {
        "Settings are compared that differ in other knobs too: all columns but one have to be equal.": (
            _effects(settings, asr, False)
        ),
        "This compares the means of each value. The grid is incomplete, so the groups differ in other knobs too.": (
            np.array(means)
        ),
        "This compares the medians of each value. The grid is incomplete, so the groups differ in other knobs too.": (
            np.array(medians)
        ),
        "The differences have a sign here: take their absolute values.": np.array(
            [np.where(_pairs(settings, k) & later, gaps, 0).max() for k in knobs]
        ),
        "The differences have a sign here: take their absolute values before the maximum.": np.array(
            [np.where(_pairs(settings, k) & later, -gaps, 0).max() for k in knobs]
        ),
        "This is the knob's number, but the effect of every knob is expected.": np.array(float(right.argmax())),
        "This is the mean difference of such pairs: take the greatest.": np.array(
            [np.abs(gaps)[_pairs(settings, k)].mean() if _pairs(settings, k).any() else 0.0 for k in knobs]
        ),
        "This counts the pairs: take the greatest difference in their rates.": np.array(
            [_pairs(settings, k).sum() / 2 for k in knobs]
        ),
    }
    return {message: value for message, value in wrong.items() if value.shape != right.shape or (value != right).any()}
