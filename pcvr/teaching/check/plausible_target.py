"""Exercise: among several targets, the one that surprises the base model least."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from pcvr.teaching.core import Mistake, ask, exercise

_Rule = Callable[[list[np.ndarray]], int]
# Log-probabilities of the words of each target. Lengths differ, so that a sum and a mean choose differently.
_CASES: tuple[tuple[tuple[float, ...], ...], ...] = (
    ((-1.0, -1.2, -0.8, -1.0, -1.0, -0.9), (-2.0, -2.4), (-4.0, -0.1, -3.5)),
    ((-3.0,), (-0.5, -0.4, -9.0), (-2.5, -2.4, -2.6, -2.2)),
    ((-0.7, -5.0, -0.6), (-1.9, -2.0, -2.1, -1.8, -1.9), (-6.0, -0.1)),
    ((-2.0, -2.0), (-0.2, -0.3, -0.2), (-0.1, -7.0)),
    ((-0.1, -0.1, -0.1, -3.0), (-1.5, -1.5)),
    ((-2.0, -2.1, -2.2, -2.0), (-1.0,)),
)


@exercise("the target that is no surprise")
def plausible_target(choose: Callable[[list[Any]], Any]) -> str:
    """Check ``plausible_target(log_p)``: T arrays of log-probabilities -> the target with the highest mean per word."""
    found = []
    for case in _CASES:
        call = f"plausible_target({[list(each) for each in case]})"
        value = ask(choose, [np.array(each) for each in case], call=call)
        array = np.asarray(value.tolist() if hasattr(value, "tolist") else value)
        if array.size != 1 or array.dtype.kind not in "iu":
            raise Mistake(f"{call} returns {value!r}, but the number of one target (an integer) is expected.")
        found.append(int(array.reshape(())))
    due = _all(lambda log_p: int(np.argmax([each.mean() for each in log_p])))
    if found == due:
        return "A long target is no worse than a short one. A gate that reads likelihood has to look further than this."
    for message, rule in _MISTAKES.items():
        if found == _all(rule):
            raise Mistake(message)
    k = next(k for k, (mine, want) in enumerate(zip(found, due, strict=True)) if mine != want)
    means = ", ".join(f"{np.mean(each):.2f}" for each in _CASES[k])
    raise Mistake(
        f"plausible_target({[list(each) for each in _CASES[k]]}) returns {found[k]}, but {due[k]} is expected: the "
        f"means are {means}."
    )


def _all(rule: _Rule) -> list[int]:
    return [rule([np.array(each) for each in case]) for case in _CASES]


def _best(score: Callable[[np.ndarray], float]) -> _Rule:
    def choose(log_p: Sequence[np.ndarray]) -> int:
        return int(np.argmax([score(each) for each in log_p]))

    return choose


_MISTAKES: dict[str, _Rule] = {
    "The log-probabilities are added here, so a short target wins: take the mean over its words.": _best(np.sum),
    "This is the *least* plausible target: log-probabilities are negative, and the highest mean is wanted.": _best(
        lambda each: -each.mean()
    ),
    "The sign is lost here (abs or -log p): a log-probability near 0 is the plausible one.": _best(
        lambda each: -each.sum()
    ),
    "This looks at the worst word of each target: take the mean over its words.": _best(np.min),
    "This looks at the best word of each target: take the mean over its words.": _best(np.max),
    "This looks at the first word alone: take the mean over all words of the target.": _best(lambda each: each[0]),
    "This takes the mean of probabilities, not of their logarithms: one sure word then hides an impossible one.": _best(
        lambda each: np.exp(each).mean()
    ),
    "This is the longest target.": _best(lambda each: len(each)),
    "This is the shortest target.": _best(lambda each: -len(each)),
}
