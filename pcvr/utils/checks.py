"""Checks of arguments and options. NumPy's numbers count as numbers, a bool never does."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import fields
from functools import cache
from types import NoneType, UnionType
from typing import Any, Literal, get_args, get_origin, get_type_hints

import numpy as np

from pcvr.errors import PcvrError, shown, unknown_name


def is_whole(value: object) -> bool:
    """Return whether `value` is an integer by type (``3``, not ``3.0`` and not ``True``)."""
    return isinstance(value, int | np.integer) and not isinstance(value, bool)


def is_number(value: object) -> bool:
    """Return whether `value` is a real number by type and fits a float; NaN and infinity do, so check the range too."""
    if isinstance(value, int):
        return not isinstance(value, bool) and abs(value) < 1 << 1023
    return isinstance(value, float | np.integer | np.floating)


def check_number(name: str, value: object, low: float, high: float, what: str = "", *, above: bool = False) -> None:
    """Raise unless `value` is a number from `low` to `high`.

    Args:
        name: name of the argument, for the message.
        value: its value.
        low: least allowed value.
        high: greatest allowed value.
        what: the unit, for the message.
        above: whether `low` itself is not allowed.

    Raises:
        PcvrError: naming argument, value and range.
    """
    inside = is_number(value) and (low < value if above else low <= value) and value <= high  # type: ignore[operator]
    if not inside:
        unit = f" ({what})" if what else ""
        border = f"above {low:g} and up to {high:g}" if above else f"from {low:g} to {high:g}"
        raise PcvrError(f"{name} is {shown(value)}: give a number {border}{unit}.")


def check_whole(name: str, value: object, low: int, high: int | None = None, what: str = "") -> None:
    """Raise unless `value` is an integer of at least `low` (and at most `high`); see :func:`check_number`."""
    if not is_whole(value) or value < low or (high is not None and value > high):  # type: ignore[operator]
        unit = f" ({what})" if what else ""
        border = f"from {low} up" if high is None else f"from {low} to {high}"
        raise PcvrError(f"{name} is {shown(value)}: give a whole number {border}{unit}.")


def check_seed(value: object, most: int = 2**64 - 1) -> None:
    """Raise unless `value` can seed a generator (torch takes 64 bits); error as :func:`check_number`."""
    check_whole("seed", value, 0, most)


def check_flag(name: str, value: object) -> None:
    """Raise unless `value` is True or False; error as :func:`check_number`."""
    if not _fits(value, bool):
        raise PcvrError(f"{name} is {shown(value)}: give True or False.")


def check_choice(what: str, value: object, known: Collection[str]) -> None:
    """Raise :func:`pcvr.errors.unknown_name` unless `value` is one of the names in `known`."""
    if not isinstance(value, str) or value not in known:
        raise unknown_name(what, value, known)


def as_tuples(value: Any) -> Any:
    """Return `value` with every list, at any depth, as a tuple: JSON has lists only."""
    return tuple(map(as_tuples, value)) if isinstance(value, list | tuple) else value


def check_fields(config: Any) -> None:
    """Raise unless every field of a dataclass has the type of its annotation; ranges are checked elsewhere.

    Raises:
        PcvrError: naming field, value, type and the field's help text.
    """
    made: Any = type(config)
    for name, (kind, about) in _kinds(made).items():
        value = getattr(config, name)
        if not _fits(value, kind):
            raise PcvrError(f"{name} is {shown(value)}: give {_in_words(kind)}{about and f' ({about})'}.")


@cache
def _kinds(made: Any) -> dict[str, tuple[Any, str]]:
    hints = get_type_hints(made)
    return {f.name: (hints[f.name], f.metadata.get("help", "")) for f in fields(made)}


def _fits(value: Any, kind: Any) -> bool:
    parts = get_args(kind)
    if get_origin(kind) is UnionType:
        return any(_fits(value, part) for part in parts)
    if get_origin(kind) is Literal:
        return value in parts
    if get_origin(kind) is tuple:
        each = parts[:1] * len(value) if parts[-1] is ... and isinstance(value, tuple) else parts
        return isinstance(value, tuple) and len(value) == len(each) and all(map(_fits, value, each))
    if kind is bool:
        return isinstance(value, bool | np.bool_)
    if kind is int:
        return is_whole(value)
    if kind is float:
        return is_number(value)
    return not isinstance(kind, type) or isinstance(value, kind)


_WORDS: dict[Any, str] = {
    bool: "True or False",
    int: "a whole number",
    float: "a number",
    str: "a text",
    NoneType: "None",
}


def _in_words(kind: Any) -> str:
    parts = get_args(kind)
    if get_origin(kind) is UnionType:
        return " or ".join(map(_in_words, parts))
    if get_origin(kind) is Literal:
        return "one of " + ", ".join(map(repr, parts))
    if get_origin(kind) is tuple:
        return f"a tuple, each entry {_in_words(parts[0])}" if parts[-1] is ... else f"a tuple of {len(parts)} entries"
    return _WORDS.get(kind, f"a {getattr(kind, '__name__', kind)}")
