"""Scoring a caption by the coloured objects it names, compared with those in the image."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from typing import Any

from pcvr.data.scenes.kinds import COLORS, KINDS
from pcvr.data.scenes.sprites import SIZES


def mentions(text: str) -> tuple[Counter[tuple[str, str]], set[str]]:
    """Return the ``(color, kind)`` pairs that a text names, counted, and the kinds that it names without a colour.

    A colour belongs to a kind if only colours or sizes are between them: "red car", "red small car".
    """
    words = re.findall(r"[a-z]+", text.lower())
    named: Counter[tuple[str, str]] = Counter()
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
        named.update((color, word) for color in colors)
        if not colors:
            bare.add(word)
    return named, bare


def _true(facts: Mapping[str, Any]) -> Counter[tuple[str, str]]:
    return Counter((each["color"], each["kind"]) for each in facts["objects"])


def attributes_right(text: str, facts: Mapping[str, Any]) -> bool:
    """Return whether a caption names exactly the objects in the image, each with its colour.

    A mention without a colour ("the car") of a kind in the image is allowed.

    Args:
        text: the caption; case and punctuation are ignored.
        facts: facts of a sample, or from `Scene.facts`.
    """
    named, bare = mentions(text)
    return named == _true(facts) and bare <= {each["kind"] for each in facts["objects"]}


def attribute_recall(text: str, facts: Mapping[str, Any]) -> float:
    """Return the fraction (0..1) of the objects that a caption names with kind and colour."""
    named, _ = mentions(text)
    true = _true(facts)
    return sum((named & true).values()) / sum(true.values())
