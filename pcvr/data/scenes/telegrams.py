"""The texts of pretraining: every fact that captions use, in telegram style.

Fine-tuning then only has to teach sentences, not colours, places and relations, which are hard to learn.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence

from pcvr.data.scenes.language import BACKGROUND_WORDS, NUMBERS, joined, with_article
from pcvr.data.scenes.objects import SceneObject, next_to, relation

TERSE_PROMPT = "list the objects."
"""The prompt for a base model's list of objects."""

Turn = tuple[str, str]


def terse(objects: Sequence[SceneObject]) -> str:
    """Return the scene in telegram style, left to right: ``"large red car, small white house."``"""
    return _listed(f"{each.size} {each.color} {each.kind}" for each in objects)


def telegrams(objects: Sequence[SceneObject], background: str) -> tuple[Turn, ...]:
    """Return prompts with their telegrams about one scene, the full list first.

    Args:
        objects: two or three objects sorted from left to right.
        background: the family of the background.
    """
    plain = [f"{each.color} {each.kind}" for each in objects]
    first = objects[0]
    relations = (
        f"{plain[0]} {relation(first, other)} {phrase}" for other, phrase in zip(objects[1:], plain[1:], strict=True)
    )
    pairs = [(i, k) for i in range(len(objects)) for k in range(i + 1, len(objects)) if next_to(objects[i], objects[k])]
    return (
        (TERSE_PROMPT, terse(objects)),
        ("list the objects from right to left.", _listed(f"{o.size} {o.color} {o.kind}" for o in reversed(objects))),
        ("what objects are there?", _listed(plain)),
        ("where are the objects?", _listed(f"{p} {_place(o)}" for p, o in zip(plain, objects, strict=True))),
        ("what is where?", _listed(relations)),
        ("what is next to what?", _listed(f"{plain[i]} next to {plain[k]}" for i, k in pairs) if pairs else "no."),
        ("how many objects, and what background?", f"{NUMBERS[len(objects)]}, {BACKGROUND_WORDS[background]}."),
    )


def described(objects: Sequence[SceneObject], background: str, seed: int) -> str:
    """Return one of many telegram-style descriptions of a scene: all objects from left to right with colour and kind.

    Sizes, places, articles, conjunctions and introductions are drawn by `seed`. A model that has seen all of them can
    go from one object to the next in the wording of any later training.

    Args:
        objects: two or three objects sorted from left to right.
        background: the family of the background.
        seed: the same seed gives the same text.
    """
    rng = random.Random(seed)
    sized, article, related = rng.random() < 0.4, rng.random() < 0.5, rng.random() < 0.25
    placed = not related and rng.random() < 0.25
    phrases = []
    for each in objects:
        phrase = f"{each.size} {each.color} {each.kind}" if sized else f"{each.color} {each.kind}"
        phrase = with_article(phrase) if article else phrase
        phrases.append(f"{phrase} {_place(each)}" if placed else phrase)
    scene = f"{BACKGROUND_WORDS[background]} background"
    if related:
        first = objects[0]
        text = " and ".join(
            [f"{phrases[0]} {relation(first, objects[1])} {phrases[1]}"]
            + [f"{relation(first, other)} {phrase}" for other, phrase in zip(objects[2:], phrases[2:], strict=True)]
        )
    else:
        text = rng.choice((", ".join, " and ".join, " with ".join, joined))(phrases)
    before = ("", "", "picture of ", "here ", f"{NUMBERS[len(objects)]} objects, ", f"{scene}, ")
    after = ("", "", f", {scene}", " in picture", " left to right")
    return f"{rng.choice(before)}{text}{rng.choice(after)}."


def _listed(phrases: Iterable[str]) -> str:
    return ", ".join(phrases) + "."


def _place(each: SceneObject) -> str:
    if each.row == "centre":
        return "centre" if each.column == "middle" else each.column
    return each.row if each.column == "middle" else f"{each.row} {each.column}"
