"""Colour words in texts: find them, and exchange them in a fixed cycle."""

from __future__ import annotations

import re

from pcvr.data.scenes.kinds import COLORS

_STEP = 3
_SCENES = tuple(COLORS)
_DARK = ("black", "brown", "grey")

EXCHANGED: dict[str, str] = {
    **{word: _SCENES[(k + _STEP) % len(_SCENES)] for k, word in enumerate(_SCENES)},
    **{word: _DARK[(k + 1) % len(_DARK)] for k, word in enumerate(_DARK)},
    "gray": _DARK[0],
}
"""Each colour word and the one that takes its place. The eight colours of the scenes form one cycle, so that texts on
scenes stay within their vocabulary; black, brown and grey form another one."""

_WORD = re.compile(rf"\b(?:{'|'.join(EXCHANGED)})\b", re.IGNORECASE)


def colour_words(text: str) -> tuple[str, ...]:
    """Return the colour words of ``text`` in lower case, sorted; a word that occurs twice stands there twice."""
    return tuple(sorted(found.lower() for found in _WORD.findall(text)))


def exchange_colours(text: str) -> str:
    """Return ``text`` with each colour word exchanged as in `EXCHANGED`; a capital letter stays a capital letter."""

    def other(found: re.Match[str]) -> str:
        word = EXCHANGED[found[0].lower()]
        return word.capitalize() if found[0][0].isupper() else word

    return _WORD.sub(other, text)
