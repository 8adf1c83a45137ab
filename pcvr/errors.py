"""One kind of error for everything a user can put right."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


class PcvrError(ValueError):
    """Something the caller gave cannot be used; the message says what came, what is expected and what to do."""


def unknown_name(what: str, given: object, known: Iterable[str]) -> PcvrError:
    """The error for a name that is not in a registry, with the nearest known name when there is one.

    Args:
        what: the kind of thing, as a reader would call it (``"attack"``, ``"model"``).
        given: what came.
        known: the names that would have worked.
    """
    names = sorted(known)
    near = get_close_matches(str(given).lower(), names, n=1, cutoff=0.5)
    hint = f"did you mean {near[0]!r}?" if near else f"choose one of: {', '.join(names)}."
    return PcvrError(f"unknown {what} {given!r}: {hint}")
