"""Exercise: how many honest samples a threshold is expected to flag."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from pcvr.teaching.compare import as_array, expect
from pcvr.teaching.core import Mistake, ask, exercise

_CALL = "expected_alarms(rest, threshold)"


@exercise("expected false alarms of a threshold")
def expected_alarms(count: Callable[[Any, float], Any]) -> str:
    """Check ``expected_alarms(rest, threshold)``: ``[N]`` powers of ten -> expected number of flagged honest samples.

    As in `pcvr.auditing.combine`: a sample is flagged with probability ``min(1, 10 ** (rest - threshold))``.
    """
    rng = np.random.default_rng(3)
    rest = np.round(rng.exponential(0.8, 40), 2)
    cases = ((rest, 2.0, ""), (rest, 0.5, " where many parts lie above the threshold"), (np.zeros(7), 1.0, " of zeros"))
    for values, threshold, where in cases:
        call = _CALL + where
        got = as_array(ask(count, values.copy(), threshold, call=call), call)
        if got.shape == (1,):
            got = got[0]
        if got.shape == values.shape and len(values) > 1:
            raise Mistake(f"{call} returns one number for each sample: add the probabilities up.")
        expect(got, np.array(_right(values, threshold)), call, "a single number", _mistakes(values, threshold))
    return "One power of ten more threshold means a tenth of the false alarms, as long as no probability reaches 1."


def _right(rest: np.ndarray, threshold: float) -> float:
    return float(np.minimum(1.0, 10.0 ** (rest - threshold)).sum())


def _mistakes(rest: np.ndarray, threshold: float) -> dict[str, np.ndarray]:
    power = 10.0 ** (rest - threshold)
    wrong = {
        "A probability above 1 is counted here: no sample is flagged more than once, so take min(1, ...).": power.sum(),
        "This is the mean, the expected *fraction*: add the probabilities up for the expected number.": (
            np.minimum(1.0, power).mean()
        ),
        "The sign is turned: the higher the threshold, the fewer alarms, 10 ** (rest - threshold).": (
            np.minimum(1.0, 10.0 ** (threshold - rest)).sum()
        ),
        "Scores count in powers of ten, and this uses e: take 10 ** instead of exp.": (
            np.minimum(1.0, np.exp(rest - threshold)).sum()
        ),
        "This counts the samples whose other parts reach the threshold: the part for the picture is missing.": (
            (rest >= threshold).sum()
        ),
        "The parts of the score are not used: each sample has its own probability, 10 ** (rest - threshold).": (
            len(rest) * 10.0**-threshold
        ),
        "This is the probability of at least one alarm: add the probabilities up.": (
            1 - np.prod(1 - np.minimum(1.0, power))
        ),
    }
    right = _right(rest, threshold)
    return {message: np.array(float(value)) for message, value in wrong.items() if not np.isclose(value, right)}
