"""What counts as a number among arguments: NumPy's too, but never a bool."""

from __future__ import annotations

import numpy as np

from pcvr.errors import PcvrError
from pcvr.utils.words import shown


def is_whole(value: object) -> bool:
    """Whether `value` is a whole number by type (``3``, not ``3.0`` and not ``True``)."""
    return isinstance(value, int | np.integer) and not isinstance(value, bool)


def is_number(value: object) -> bool:
    """Whether `value` is a real number by type; NaN and infinity count, so check the range as well."""
    return isinstance(value, int | float | np.integer | np.floating) and not isinstance(value, bool)


def check_number(name: str, value: object, low: float, high: float, what: str = "", *, above: bool = False) -> None:
    """Refuse what is no number from `low` to `high`.

    Args:
        name: of the argument, for the message.
        value: what came.
        low: least allowed value.
        high: greatest allowed value.
        what: the unit, or what is counted, for the message.
        above: whether `low` itself is out.

    Raises:
        PcvrError: naming argument, value and range.
    """
    inside = is_number(value) and (low < value if above else low <= value) and value <= high  # type: ignore[operator]
    if not inside:
        unit = f" ({what})" if what else ""
        border = f"above {low:g} and up to {high:g}" if above else f"from {low:g} to {high:g}"
        raise PcvrError(f"{name} is {shown(value)}: give a number {border}{unit}.")


def check_whole(name: str, value: object, low: int, high: int | None = None, what: str = "") -> None:
    """Refuse what is no whole number from `low` up (to `high`); arguments and error as :func:`check_number`."""
    if not is_whole(value) or value < low or (high is not None and value > high):  # type: ignore[operator]
        unit = f" ({what})" if what else ""
        border = f"from {low} up" if high is None else f"from {low} to {high}"
        raise PcvrError(f"{name} is {shown(value)}: give a whole number {border}{unit}.")


def check_seed(value: object, name: str = "seed") -> None:
    """Refuse what cannot seed every generator that is used here; error as :func:`check_number`."""
    check_whole(name, value, 0, 2**32 - 1)
