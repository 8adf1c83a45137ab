"""Exercise: what two measurements of an attack allow to say about a defence."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pcvr.evaluation.intervals import wilson
from pcvr.teaching.core import Mistake, ask, exercise

WORDS = ("did not take", "got through", "held", "undecided")
_TOOK, _THROUGH = 0.9, 0.1
_Case = tuple[int, int, int]
_Rule = Callable[[int, int, int], str]
# Hits without a defence, hits with it, images; a case for each word, and one next to each border.
_CASES: tuple[_Case, ...] = (
    (500, 0, 512), (510, 130, 512), (200, 0, 512), (512, 60, 512), (60, 4, 64), (20, 20, 64),
    (460, 300, 512), (64, 0, 64), (20, 0, 20),
)  # fmt: skip


@exercise("what an attempt shows")
def verdict(say: Callable[[int, int, int], Any]) -> str:
    """Check ``verdict(plain, defended, n)``: hits without and with a defence in n images each -> one of four words.

    ``"did not take"`` below 90 % without a defence; otherwise ``"got through"`` if the whole 95 % interval of the
    defended rate is above 10 %, ``"held"`` if it is below, ``"undecided"`` in between.
    """
    found: list[Any] = []
    for case in _CASES:
        call = "verdict(plain={}, defended={}, n={})".format(*case)
        value = ask(say, *case, call=call, begun=bool(found))
        if value not in WORDS:
            raise Mistake(f"{call} returns {value!r}, but one of {', '.join(map(repr, WORDS))} is expected.")
        found.append(str(value))
    due = [right_verdict(*case) for case in _CASES]
    if found == due:
        return "Most mistakes in this field are one of two: the attack had not taken, or the interval was not drawn."
    for message, rule in _MISTAKES.items():
        if found == [rule(*case) for case in _CASES]:
            raise Mistake(message)
    k = next(k for k, (mine, want) in enumerate(zip(found, due, strict=True)) if mine != want)
    low, high = wilson(_CASES[k][1], _CASES[k][2])
    raise Mistake(
        "verdict(plain={}, defended={}, n={})".format(*_CASES[k])
        + f" returns {found[k]!r}, but {due[k]!r} is expected: "
        f"{_CASES[k][0] / _CASES[k][2]:.0%} without a defence; with it the interval is {low:.1%} to {high:.1%}."
    )


def _by(low: float, high: float) -> str:
    return "got through" if low > _THROUGH else "held" if high < _THROUGH else "undecided"


def right_verdict(plain: int, defended: int, n: int) -> str:
    """Return the word for `plain` hits without and `defended` hits with a defence in `n` images each, see `verdict`."""
    return "did not take" if plain / n < _TOOK else _by(*wilson(defended, n))


def _point(defended: int, n: int) -> str:
    return _by(defended / n, defended / n)


_MISTAKES: dict[str, _Rule] = {
    "The rate without a defence is ignored: below 90 % the attack did not take, and nothing was defended.": (
        lambda plain, defended, n: _by(*wilson(defended, n))
    ),
    "The rate alone decides here. Use its interval: with 4 hits in 64 images it reaches from below 10 % to above.": (
        lambda plain, defended, n: "did not take" if plain / n < _TOOK else _point(defended, n)
    ),
    "Neither the interval nor the rate without a defence is used.": lambda plain, defended, n: _point(defended, n),
    "The lower end decides about 'held' here: the *upper* end has to be below 10 %.": (
        lambda plain, defended, n: (
            "did not take" if plain / n < _TOOK else _by(wilson(defended, n)[0], wilson(defended, n)[0])
        )
    ),
    "The upper end decides about 'got through' here: the *lower* end has to be above 10 %.": (
        lambda plain, defended, n: (
            "did not take" if plain / n < _TOOK else _by(wilson(defended, n)[1], wilson(defended, n)[1])
        )
    ),
    "The two counts are exchanged: the first is without a defence.": (
        lambda plain, defended, n: "did not take" if defended / n < _TOOK else _by(*wilson(plain, n))
    ),
    "'held' and 'got through' are exchanged: a high rate under a defence means that the attack got through.": (
        lambda plain, defended, n: {"held": "got through", "got through": "held"}.get(
            right_verdict(plain, defended, n), right_verdict(plain, defended, n)
        )
    ),
}
