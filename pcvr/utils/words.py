"""Words from outside in our own sentences: shortened in the middle, and without characters that act on a terminal."""

from __future__ import annotations

from reprlib import Repr
from unicodedata import category

_GAP = " ... "
_ACTS = ("Cc", "Cs")
"""Unicode categories that are escaped: control characters, and halves of surrogate pairs, which have no UTF-8 form."""


def cut(text: str, most: int) -> str:
    """`text`, shortened in the middle where it has more than `most` characters: both ends say the most."""
    if len(text) <= most:
        return text
    tail = max(0, most - len(_GAP)) * 2 // 5
    return text[: most - len(_GAP) - tail] + _GAP + text[len(text) - tail :]


def legible(text: str) -> str:
    """`text` with control characters (but line breaks) and lone surrogates written as escapes, such as ``\\x1b``."""
    if text.isprintable():
        return text
    return "".join(
        character.encode("unicode_escape").decode() if category(character) in _ACTS and character != "\n" else character
        for character in text
    )


def shown(value: object, most: int = 80) -> str:
    """The `repr` of a value from outside, on one line and about `most` characters long, whatever the value is."""
    short = Repr()
    short.maxstring = short.maxother = short.maxlong = most
    try:
        return cut(" ".join(short.repr(value).split()), most + 20)
    except Exception:  # somebody else's __repr__, or an integer with too many digits to print
        return f"a {type(value).__name__} that cannot be printed"


def first_line(problem: BaseException, most: int = 200) -> str:
    """The first line of what an exception says, at most `most` characters; its name where it says nothing."""
    return cut(legible((str(problem).strip().splitlines() or [type(problem).__name__])[0]), most)


def reason(problem: BaseException, most: int = 200) -> str:
    """What an exception says as a part of a sentence: its kind, and its text on one line without a full stop."""
    text = cut(" ".join(legible(str(problem)).split()), most).rstrip(" .:;")
    return f"{type(problem).__name__}: {text}" if text else type(problem).__name__
