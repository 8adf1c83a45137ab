"""Old names that still work: a class lists them as ``RENAMED = {"old": "new"}``.

Renamed values of an option are listed as ``RENAMED_VALUES = {"option": {"old": "new"}}``. Python code that uses an old
name gets a `DeprecationWarning` with the new name. Old files are read without a warning.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Collection, Mapping
from dataclasses import fields, is_dataclass
from functools import wraps
from typing import Any, ParamSpec, TypeVar, get_args, get_type_hints

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
        now = _translated(made.__name__, made.RENAMED, options, _fields_of(made))
        build(self, *args, **_with_new_values(made, now, warn=options))

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
    """Return `values` from a file by the present names of the class `kind`, at every depth; without a warning.

    Raises:
        PcvrError: an option is given by its old and its new name.
    """
    found = _translated(kind.__name__, _renamed(kind), values, warn=False)
    return _with_parts(kind, _with_new_values(kind, found), current_names)


def current_path(kind: Any, path: str) -> str:
    """Return the present name of an option of `kind`; a dot separates the field of a nested dataclass."""
    name, dot, part = path.partition(".")
    name = _renamed(kind).get(name, name)
    inner = _hints(kind).get(name) if dot else None
    return f"{name}{dot}{current_path(inner, part) if is_dataclass(inner) else part}"


def first_names(kind: Any, values: Mapping[str, Any]) -> dict[str, Any]:
    """Return `values` by the oldest names, at every depth, for hashes that must stay the same as in old files."""
    oldest = {new: old for old, new in reversed(_renamed(kind).items())}
    before = {name: {new: old for old, new in words.items()} for name, words in _renamed_values(kind).items()}
    found = _with_parts(kind, values, first_names)
    return {oldest.get(name, name): _word(before.get(name, {}), value) for name, value in found.items()}


def _renamed(kind: Any) -> dict[str, str]:
    return dict(getattr(kind, "RENAMED", {}))


def _renamed_values(kind: Any) -> dict[str, Mapping[str, str]]:
    return dict(getattr(kind, "RENAMED_VALUES", {}))


def _word(words: Mapping[str, str], value: Any) -> Any:
    return words.get(value, value) if isinstance(value, str) else value


def _with_new_values(kind: Any, values: Mapping[str, Any], warn: Collection[str] = ()) -> dict[str, Any]:
    """`values` with the new names of old ones; where the option is in `warn`, with a warning."""
    found = dict(values)
    for name, words in _renamed_values(kind).items():
        value = values.get(name)
        if isinstance(value, str) and value in words:
            found[name] = words[value]
            if name in warn:
                _warn(f"{kind.__name__}({name}={value!r})", repr(words[value]), level=4)
    return found


def _hints(kind: Any) -> dict[str, Any]:
    """The annotations of the class `kind`; none where some are names that only type checkers can resolve."""
    try:
        return get_type_hints(kind)
    except NameError:
        return {}


def _with_parts(kind: Any, values: Mapping[str, Any], rename: Callable[[Any, Any], dict[str, Any]]) -> dict[str, Any]:
    """`values` with those renamed that stand for dataclasses, in lists and mappings too."""
    hints = _hints(kind) if any(isinstance(value, Mapping | list | tuple) for value in values.values()) else {}
    return {name: _part(hints.get(name), value, rename) for name, value in values.items()}


def _part(hint: Any, value: Any, rename: Callable[[Any, Any], dict[str, Any]]) -> Any:
    inner = get_args(hint)
    if is_dataclass(hint) and isinstance(value, Mapping):
        return rename(hint, value)
    if isinstance(value, Mapping) and len(inner) == 2:
        return {key: _part(inner[1], each, rename) for key, each in value.items()}
    if isinstance(value, list | tuple) and inner:
        return type(value)(_part(inner[0], each, rename) for each in value)
    return value


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
    # dataclasses.replace() passes every field, so that the old name comes with the new one's former value.
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
