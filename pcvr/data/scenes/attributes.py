"""Scoring a caption by what it says: which coloured objects it names, and whether these are the ones in the picture."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from typing import Any

from pcvr.data.scenes.kinds import COLORS, KINDS
from pcvr.data.scenes.sprites import SIZES


def mentions(text: str) -> tuple[Counter[tuple[str, str]], set[str]]:
    """The ``(color, kind)`` pairs a text names, counted, and the kinds it names without a colour.

    A colour belongs to a kind when only words of colour or size stand between them: "red car", "red small car".
    """
    words = re.findall(r"[a-z]+", text.lower())
    said: Counter[tuple[str, str]] = Counter()
    bare: set[str] = set()
    for place, word in enumerate(words):
        if word not in KINDS:
            continue
        colors = []
        for before in reversed(words[:place]):
            if before in COLORS:
                colors.append(before)
            elif before not in SIZES:
                break
        said.update((color, word) for color in colors)
        if not colors:
            bare.add(word)
    return said, bare


def _true(facts: Mapping[str, Any]) -> Counter[tuple[str, str]]:
    return Counter((each["color"], each["kind"]) for each in facts["objects"])


def attributes_right(text: str, facts: Mapping[str, Any]) -> bool:
    """Whether a caption names every object with its colour, as often as there are such, and nothing else.

    A later mention without a colour ("the car") of a kind that is in the picture does no harm.

    Args:
        text: the caption, in any case and punctuation.
        facts: the facts of a sample or of `Scene.facts`.
    """
    said, bare = mentions(text)
    return said == _true(facts) and bare <= {each["kind"] for each in facts["objects"]}


def attribute_recall(text: str, facts: Mapping[str, Any]) -> float:
    """The share of the objects (0..1) whose colour and kind a caption says."""
    said, _ = mentions(text)
    true = _true(facts)
    return sum((said & true).values()) / sum(true.values())
