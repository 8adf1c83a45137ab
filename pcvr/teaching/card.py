"""The card above an exercise: how hard, how important, how long."""

from __future__ import annotations

from pcvr.errors import PcvrError

HIGHEST = 5


def card(difficulty: int, importance: int, minutes: int) -> str:
    """One line of Markdown that says what an exercise asks of the reader.

    The figures are written out beside the dots, so that a screen reader says the same as the picture.

    Args:
        difficulty: 1 (a line) to 5 (an afternoon's thought).
        importance: 1 (a side path) to 5 (the rest of the notebook rests on it).
        minutes: how long it takes somebody who has followed so far, at least 1.

    Raises:
        PcvrError: a figure is out of its range.
    """
    for name, value in (("difficulty", difficulty), ("importance", importance)):
        if not 1 <= value <= HIGHEST:
            raise PcvrError(f"{name} of an exercise card is {value}: give a whole number from 1 to {HIGHEST}.")
    if minutes < 1:
        raise PcvrError(f"minutes of an exercise card is {minutes}: give a whole number of at least 1.")
    return (
        f"> **Exercise** · difficulty {_dots(difficulty)} {difficulty} of {HIGHEST}"
        f" · importance {_dots(importance)} {importance} of {HIGHEST}"
        f" · about {minutes} minute{'s' if minutes > 1 else ''}"
    )


def _dots(value: int) -> str:
    return "●" * value + "○" * (HIGHEST - value)
