"""The card above an exercise: difficulty, importance, time."""

from __future__ import annotations

from pcvr.errors import PcvrError

HIGHEST = 5


def card(difficulty: int, importance: int, minutes: int) -> str:
    """Return one line of Markdown with the difficulty, importance and duration of an exercise.

    The figures stand beside the dots as text, so that a screen reader reads them too.

    Args:
        difficulty: 1 (one line) to 5 (an afternoon of work).
        importance: 1 (optional) to 5 (the rest of the notebook builds on it).
        minutes: time for a reader who has followed so far, at least 1.

    Raises:
        PcvrError: if an argument is out of its range.
    """
    for name, value in (("difficulty", difficulty), ("importance", importance)):
        if not 1 <= value <= HIGHEST:
            raise PcvrError(f"{name} of an exercise card is {value}: give an integer from 1 to {HIGHEST}.")
    if minutes < 1:
        raise PcvrError(f"minutes of an exercise card is {minutes}: give an integer of at least 1.")
    return (
        f"> **Exercise** · difficulty {_dots(difficulty)} {difficulty} of {HIGHEST}"
        f" · importance {_dots(importance)} {importance} of {HIGHEST}"
        f" · about {minutes} minute{'s' if minutes > 1 else ''}"
    )


def _dots(value: int) -> str:
    return "●" * value + "○" * (HIGHEST - value)
