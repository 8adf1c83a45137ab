"""One kind of error for everything a user can put right."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches

from pcvr.utils.words import cut, legible, shown

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
