"""One kind of error for everything a user can put right, and text from outside made fit for a sentence of ours."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches
from reprlib import Repr
from unicodedata import category

_GAP = " ... "
_ACTS = ("Cc", "Cs")
"""Unicode categories that are escaped: control characters, and halves of surrogate pairs, which have no UTF-8 form."""
LONGEST = 600
"""Characters of a message that a person still reads; a longer one is shortened in the middle."""


class PcvrError(ValueError):
    """Something the caller gave cannot be used; the message says what came, what is expected and what to do."""

    def __init__(self, message: str = "") -> None:
        super().__init__(cut(legible(message), LONGEST))


def unknown_name(what: str, given: object, known: Iterable[str]) -> PcvrError:
    """The error for a name that is not in a registry, with the nearest known name when there is one.

    Args:
        what: the kind of thing, as a reader would call it (``"attack"``, ``"model"``).
        given: what came.
        known: the names that would have worked.
    """
    names = sorted(map(str, known))
    near = get_close_matches(str(given).lower(), names, n=1, cutoff=0.5) if len(shown(given)) < 80 else []
    hint = f"did you mean {near[0]!r}?" if near else f"choose one of: {cut(', '.join(names), 300)}."
    return PcvrError(f"unknown {what} {shown(given)}: {hint}")


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
