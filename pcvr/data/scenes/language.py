"""The captions of the scenes: five references in natural English, and the vocabulary."""

from __future__ import annotations

import random
from collections.abc import Sequence

from pcvr.data.scenes.kinds import COLORS, KINDS
from pcvr.data.scenes.objects import SceneObject, next_to, relation

CAPTION_PROMPT = "describe the image."
"""The prompt for a caption."""

NUMBERS = {2: "two", 3: "three"}

BACKGROUND_WORDS = {
    "plain": "plain",
    "gradient": "shaded",
    "stripes": "striped",
    "checks": "checked",
    "dots": "dotted",
    "noise": "cloudy",
    "grain": "grainy",
}
"""The adjective for each family of background."""

WORDS: tuple[str, ...] = tuple(
    sorted(
        {*KINDS, *COLORS, *NUMBERS.values(), *BACKGROUND_WORDS.values()}
        | set("small large largest left middle right top centre bottom above below next to front from".split())
        | set("a an the this it we and of with in on at is are be there here can see seen shows".split())
        | set("picture photo image scene background object objects".split())
        | set("describe what colour how many where which yes no".split())
    )
)
"""Every word of captions, telegrams, questions, answers and prompts, without punctuation."""


def with_article(phrase: str) -> str:
    """Return ``phrase`` with its indefinite article."""
    return f"{'an' if phrase[0] in 'aeiou' else 'a'} {phrase}"


def captions(objects: Sequence[SceneObject], background: str, seed: int) -> tuple[str, ...]:
    """Return five distinct captions; each names every object from left to right with its colour.

    Each caption has another style (a list, a relation, the background, the sizes, and count, order or places), in
    random order.

    Args:
        objects: two or three objects sorted from left to right.
        background: the family of the background.
        seed: the same seed gives the same five captions.
    """
    rng = random.Random(seed)
    adjective = BACKGROUND_WORDS[background]
    plain = [with_article(f"{each.color} {each.kind}") for each in objects]
    sized = [with_article(f"{each.size} {each.color} {each.kind}") for each in objects]
    written = [
        _listed(plain, rng),
        _related(objects, sized if len(objects) == 2 and rng.random() < 0.4 else plain, rng),
        _grounded(plain, adjective, rng),
        _sized(sized, rng),
        _ordered(objects, plain, rng),
    ]
    rng.shuffle(written)
    return tuple(f"{text}." for text in written)


def joined(phrases: Sequence[str]) -> str:
    """Return ``"a, b and c"``."""
    return f"{', '.join(phrases[:-1])} and {phrases[-1]}"


def _listed(plain: Sequence[str], rng: random.Random) -> str:
    things = joined(plain)
    return rng.choice(
        (
            f"a picture of {things}",
            f"a photo of {things}",
            f"this is a picture of {things}",
            f"the picture shows {things}",
            f"there is {things} in the picture",
            f"we can see {things} here",
        )
    )


def _related(objects: Sequence[SceneObject], phrases: Sequence[str], rng: random.Random) -> str:
    first = _relation_words(objects[0], objects[1], rng)
    if len(objects) == 2:
        one, other = phrases
        return rng.choice(
            (
                f"{one} is {first} {other}",
                f"there is {one} {first} {other}",
                f"a picture of {one} {first} {other}",
                f"{one} can be seen {first} {other}",
            )
        )
    one, other, third = phrases
    if objects[2].column == "right" and rng.random() < 0.4:
        return f"{one} {first} {other}, with {third} on the right"
    second = _relation_words(objects[0], objects[2], rng)
    rest = f"{first} {other} and {third}" if first == second else f"{first} {other} and {second} {third}"
    return rng.choice((f"{one} {rest}", f"{one} is {rest}", f"there is {one} {rest}"))


def _relation_words(one: SceneObject, other: SceneObject, rng: random.Random) -> str:
    if next_to(one, other) and rng.random() < 0.4:
        return "next to"
    found = relation(one, other)
    return f"to the {found}" if found in ("left of", "right of") else found


def _grounded(plain: Sequence[str], adjective: str, rng: random.Random) -> str:
    things = joined(plain)
    return rng.choice(
        (
            f"{things} on a {adjective} background",
            f"{things} in front of a {adjective} background",
            f"a picture of {things} on a {adjective} background",
            f"there is {things} on a {adjective} background",
            f"a {adjective} background with {things}",
        )
    )


def _sized(sized: Sequence[str], rng: random.Random) -> str:
    things = joined(sized)
    return rng.choice(
        (
            things,
            f"a photo of {things}",
            f"there is {things}",
            f"the image shows {things}",
            f"we see {things} in the scene",
        )
    )


def _ordered(objects: Sequence[SceneObject], plain: Sequence[str], rng: random.Random) -> str:
    things, number = joined(plain), NUMBERS[len(objects)]
    choices = [
        f"there are {number} objects, {things}",
        f"{number} objects in the picture, {things}",
        f"a scene with {number} objects, {things}",
        f"{things}, from left to right",
        f"from left to right it is {things}",
    ]
    if len(objects) == 2:
        placed = [f"{phrase} {_place_words(each)}" for phrase, each in zip(plain, objects, strict=True)]
        # Places are more informative than a count, so they are about as frequent as all others together.
        choices += [joined(placed)] * 4
    return rng.choice(choices)


def _place_words(each: SceneObject) -> str:
    if each.row == "centre":
        return "in the centre" if each.column == "middle" else f"on the {each.column}"
    return f"at the {each.row}" if each.column == "middle" else f"at the {each.row} {each.column}"
