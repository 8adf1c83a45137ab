"""The error for everything a user can correct, and helpers that make text from outside safe to print."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches
from reprlib import Repr
from unicodedata import category

_GAP = " ... "
_ACTS = ("Cc", "Cs")
"""Unicode categories that are escaped: control characters and lone surrogates, which have no UTF-8 form."""
LONGEST = 600
"""Maximum length of a message in characters; a longer one is shortened in the middle."""


class PcvrError(ValueError):
    """A value from the caller cannot be used; the message names it, says what is allowed and what to do."""

    def __init__(self, message: str = "") -> None:
        super().__init__(cut(legible(message), LONGEST))


class UnknownName(PcvrError, KeyError):
    """A name that is not in a registry. It is a KeyError too, as a lookup in a mapping is expected to raise."""

    __str__ = ValueError.__str__  # KeyError shows its message in quotes


def unknown_name(what: str, given: object, known: Iterable[str], note: str = "") -> UnknownName:
    """Return the error for a name that is not in a registry; it suggests the nearest known name.

    Args:
        what: the kind of thing (``"attack"``, ``"model"``).
        given: the unknown name.
        known: the names in the registry.
        note: what else the reader should know, put behind `given`.
    """
    names = sorted(map(str, known))
    near = get_close_matches(str(given).lower(), names, n=1, cutoff=0.5) if len(shown(given)) < 80 else []
    hint = f"did you mean {near[0]!r}?" if near else f"choose one of: {cut(', '.join(names), 300)}."
    return UnknownName(f"unknown {what} {shown(given)}{note}: {hint}")


def cut(text: str, most: int) -> str:
    """Return `text` with at most `most` characters; a longer text loses its middle."""
    if len(text) <= most:
        return text
    tail = max(0, most - len(_GAP)) * 2 // 5
    return text[: most - len(_GAP) - tail] + _GAP + text[len(text) - tail :]


def legible(text: str) -> str:
    """Return `text` with control characters (except line breaks) and lone surrogates as escapes, such as ``\\x1b``."""
    if text.isprintable():
        return text
    return "".join(
        character.encode("unicode_escape").decode() if category(character) in _ACTS and character != "\n" else character
        for character in text
    )


def shown(value: object, most: int = 80) -> str:
    """Return the `repr` of any value from outside on one line, about `most` characters long."""
    short = Repr()
    short.maxstring = short.maxother = short.maxlong = most
    try:
        return cut(" ".join(short.repr(value).split()), most + 20)
    except Exception:  # a broken __repr__, or an integer with too many digits to print
        return f"a {type(value).__name__} that cannot be printed"


def first_line(problem: BaseException, most: int = 200) -> str:
    """Return the first line of an exception's message, at most `most` characters; without a message, its type."""
    return cut(legible((str(problem).strip().splitlines() or [type(problem).__name__])[0]), most)


def reason(problem: BaseException, most: int = 200) -> str:
    """Return an exception as a part of a sentence: type and message on one line, without a full stop."""
    text = cut(" ".join(legible(str(problem)).split()), most).rstrip(" .:;")
    return f"{type(problem).__name__}: {text}" if text else type(problem).__name__
