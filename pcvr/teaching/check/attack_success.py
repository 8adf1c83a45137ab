"""Exercise: the fraction of answers that contain the attacker's target."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from pcvr.teaching.compare import as_array, expect
from pcvr.teaching.core import ask, exercise

_TARGET = "a photo of the banana"
_ANSWERS = (
    "a photo of the banana",
    "A photo of the BANANA",
    "a red car left of a white cat",
    "here is a photo of the banana on a table",
    "a photo of the cat",
    "a banana and a ball",
    "the banana is in a photo of the cat",
    "a photo of the banana next to a ball",
    "two dogs",
    "look, a photo of the banana",
    "three green cups",
    "one bird",
    "many trees",
)
"""Five hits: one in capitals, three longer than the target. Each mistake below counts another number."""


@exercise("attack success rate of some answers")
def attack_success(rate: Callable[[list[str], str], Any]) -> str:
    """Check ``attack_success(answers, target)``: the fraction of answers that contain the target, in any case."""
    for answers, which in (
        (_ANSWERS, "seven answers"),
        (_ANSWERS[2:6], "four answers"),
        (_ANSWERS[4:6], "two answers"),
    ):
        call = f"attack_success(answers, {_TARGET!r}) of {which}"
        got = as_array(ask(rate, list(answers), _TARGET, call=call), call)
        expect(got, np.array(_rate(answers)), call, "a single number", _mistakes(answers))
    return "A long answer with the target in it is a hit too. Half of the target is not."


def _rate(answers: Sequence[str]) -> float:
    return float(np.mean([_TARGET in text.lower() for text in answers]))


def _mistakes(answers: Sequence[str]) -> dict[str, np.ndarray]:
    right, small = _rate(answers), [text.lower() for text in answers]
    words = set(_TARGET.split())
    wrong: dict[str, Any] = {
        "This is the number of hits: divide it by the number of answers.": right * len(answers),
        "This is in per cent: give a fraction, from 0 to 1.": right * 100,
        "This is the fraction of answers without the target.": 1 - right,
        "Capital letters count as different letters here: compare text.lower() with the target.": np.mean(
            [_TARGET in text for text in answers]
        ),
        "Only answers that are exactly the target count here: an answer that contains it is a hit too.": np.mean(
            [text == _TARGET for text in small]
        ),
        "Only exact answers count here, and capital letters differ: look for the target inside text.lower().": np.mean(
            [text == _TARGET for text in answers]
        ),
        "Only answers that begin with the target count here: it may stand anywhere.": np.mean(
            [text.startswith(_TARGET) for text in small]
        ),
        "An answer with the last word of the target counts here: look for the whole phrase.": np.mean(
            ["banana" in text for text in small]
        ),
        "An answer with any word of the target counts here: look for the whole phrase.": np.mean(
            [bool(words & set(text.split())) for text in small]
        ),
        "An answer with all words of the target counts here, in any order: look for the whole phrase.": np.mean(
            [words <= set(text.split()) for text in small]
        ),
    }
    return {message: np.array(value) for message, value in wrong.items() if not np.isclose(value, right)}
