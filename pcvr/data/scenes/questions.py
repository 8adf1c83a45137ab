"""Questions about a scene, each with its one correct answer."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence

from pcvr.data.scenes.kinds import COLORS, KINDS
from pcvr.data.scenes.language import NUMBERS, with_article
from pcvr.data.scenes.objects import SceneObject

CLEARLY = 8
"""Minimum difference of two centres or sides in pixels for a question that compares them."""

Question = tuple[str, str]


def questions(objects: Sequence[SceneObject], seed: int) -> tuple[tuple[Question, ...], ...]:
    """Return every question about a scene, grouped by type; a group of yes-or-no questions has as many of each answer.

    Args:
        objects: two or three objects of different kinds, sorted from left to right.
        seed: seed of the questions whose answer is "no".

    Returns:
        Non-empty groups of ``(question, answer)``, lower case; every answer is one word.
    """
    rng = random.Random(seed ^ 0x5EED)
    groups = (
        _colours(objects),
        _count(objects),
        _presence(objects, rng),
        _colour_checks(objects, rng),
        _places(objects),
        _by_colour(objects),
        _by_side(objects),
        _by_size(objects),
        _beside(objects, rng),
        _above(objects, rng),
    )
    return tuple(tuple(group) for group in groups if group)


def pick(groups: Sequence[Sequence[Question]], seed: int) -> Question:
    """Draw one question: first a type, so that all types are equally frequent, then a question of that type."""
    rng = random.Random(seed ^ 0xA5C)
    return rng.choice(rng.choice(groups))


def _colours(objects: Sequence[SceneObject]) -> list[Question]:
    return [(f"what colour is the {each.kind}?", each.color) for each in objects]


def _count(objects: Sequence[SceneObject]) -> list[Question]:
    return [("how many objects are there?", NUMBERS[len(objects)])]


def _presence(objects: Sequence[SceneObject], rng: random.Random) -> list[Question]:
    present = [each.kind for each in objects]
    absent = rng.sample([kind for kind in KINDS if kind not in present], len(present))
    return [(f"is there {with_article(kind)}?", "yes") for kind in present] + [
        (f"is there {with_article(kind)}?", "no") for kind in absent
    ]


def _colour_checks(objects: Sequence[SceneObject], rng: random.Random) -> list[Question]:
    found: list[Question] = []
    for each in objects:
        wrong = rng.choice([color for color in COLORS if color != each.color])
        found += [(f"is the {each.kind} {each.color}?", "yes"), (f"is the {each.kind} {wrong}?", "no")]
    return found


def _places(objects: Sequence[SceneObject]) -> list[Question]:
    return [(f"where is the {each.kind}?", each.column) for each in objects]


def _by_colour(objects: Sequence[SceneObject]) -> list[Question]:
    often = Counter(each.color for each in objects)
    return [(f"which object is {each.color}?", each.kind) for each in objects if often[each.color] == 1]


def _by_side(objects: Sequence[SceneObject]) -> list[Question]:
    return [("which object is on the left?", objects[0].kind), ("which object is on the right?", objects[-1].kind)]


def _by_size(objects: Sequence[SceneObject]) -> list[Question]:
    *others, largest = sorted(objects, key=lambda each: each.side)
    if largest.side - others[-1].side < CLEARLY:
        return []
    return [("which object is the largest?", largest.kind)]


def _beside(objects: Sequence[SceneObject], rng: random.Random) -> list[Question]:
    one, other = sorted(rng.sample(list(objects), 2), key=lambda each: each.cx)
    return _both_ways("left of", one, other)


def _above(objects: Sequence[SceneObject], rng: random.Random) -> list[Question]:
    one, other = sorted(rng.sample(list(objects), 2), key=lambda each: each.cy)
    if other.cy - one.cy < CLEARLY:
        return []
    return _both_ways("above", one, other)


def _both_ways(how: str, one: SceneObject, other: SceneObject) -> list[Question]:
    return [
        (f"is the {one.kind} {how} the {other.kind}?", "yes"),
        (f"is the {other.kind} {how} the {one.kind}?", "no"),
    ]
