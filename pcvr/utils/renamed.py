"""Old names that go on working: a class lists them as ``RENAMED = {"old": "new"}``.

Python code that uses one gets a `DeprecationWarning` with the new name. Files written before are read without a word.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass
from functools import wraps
from typing import Any, ParamSpec, TypeVar

from pcvr.errors import PcvrError

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")


def accepts_old_names(kind: type[T]) -> type[T]:
    """Decorate a class with `RENAMED`: its constructor takes the old keywords, its objects have the old attributes.

    Put it above ``@dataclass``. A subclass inherits the attributes; its own constructor needs the decorator again.
    """
    made: Any = kind
    build = made.__init__

    @wraps(build)
    def __init__(self: Any, *args: Any, **options: Any) -> None:
        build(self, *args, **_translated(made.__name__, made.RENAMED, options, _fields_of(made)))

    def __getattr__(self: Any, name: str) -> Any:
        new = type(self).RENAMED.get(name)
        if new is None:
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        _warn(f"{type(self).__name__}.{name}", new)
        return getattr(self, new)

    made.__init__, made.__getattr__ = __init__, __getattr__
    return kind


def old_arguments(**renamed: str) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Decorate a function to take old argument names, given as ``old="new"``."""

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        @wraps(function)
        def call(*args: P.args, **options: P.kwargs) -> R:
            now: Any = _translated(function.__name__, renamed, options)
            return function(*args, **now)

        return call

    return decorate


def current_names(kind: Any, values: Mapping[str, Any]) -> dict[str, Any]:
    """`values` from a file, by the names that the class `kind` has now; without a warning.

    Raises:
        PcvrError: a value comes under its old and its new name.
    """
    return _translated(kind.__name__, _renamed(kind), values, warn=False)


def first_names(kind: Any, values: Mapping[str, Any]) -> dict[str, Any]:
    """`values` by the oldest names, for hashes that must stay the same as in files written before."""
    oldest = {new: old for old, new in reversed(_renamed(kind).items())}
    return {oldest.get(name, name): value for name, value in values.items()}


def _renamed(kind: Any) -> dict[str, str]:
    return dict(getattr(kind, "RENAMED", {}))


def _fields_of(kind: Any) -> frozenset[str]:
    return frozenset(f.name for f in fields(kind) if f.init) if is_dataclass(kind) else frozenset()


def _translated(
    owner: str,
    renamed: Mapping[str, str],
    values: Mapping[str, Any],
    every: frozenset[str] = frozenset(),
    warn: bool = True,
) -> dict[str, Any]:
    found = dict(values)
    # dataclasses.replace() hands over every field, so that the old name stands beside the new one's former value.
    replacing = bool(every) and every <= values.keys()
    for old in [name for name in values if name in renamed]:
        new, value = renamed[old], found.pop(old)
        if new in found and not replacing:
            raise PcvrError(f"{old} and {new} are the old and the new name of one argument of {owner}: give {new}.")
        if warn:
            _warn(f"{owner}({old}=...)", new, level=4)
        found[new] = value
    return found


def _warn(old: str, new: str, level: int = 3) -> None:
    warnings.warn(f"{old} is now called {new}: use the new name.", DeprecationWarning, stacklevel=level)
