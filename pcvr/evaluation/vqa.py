"""VQA accuracy: an answer counts in full when at least three of ten people gave it."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

from pcvr.errors import PcvrError

PEOPLE = 10
"""How many people answered each question of VQA; the formula is for that number."""

_NUMBERS = dict(
    zip(
        "none zero one two three four five six seven eight nine ten".split(),
        "0 0 1 2 3 4 5 6 7 8 9 10".split(),
        strict=True,
    )
)
_ARTICLES = frozenset(("a", "an", "the"))


def normalise_answer(text: str) -> str:
    """An answer as the VQA evaluation compares it.

    Lower case; number words up to ten become digits; articles go; punctuation becomes a space, except that a comma or
    point between digits goes or stays as part of the number. The official script puts missing apostrophes back
    ("dont" becomes "don't"); here all of them go, on both sides, which compares the same.
    """
    text = re.sub(r"(?<=\d),(?=\d)", "", text.lower().replace("’", "'").replace("'", ""))
    text = re.sub(r"(?<!\d)\.|\.(?!\d)", " ", text)
    words = re.sub(r"[^\w\s.:$%]|_", " ", text).split()
    return " ".join(_NUMBERS.get(word, word) for word in words if word not in _ARTICLES)


def vqa_accuracy_each(predictions: Sequence[str], references: Sequence[Sequence[str]]) -> np.ndarray:
    """Accuracy of every answer, float64 ``[N]`` in [0, 1].

    Where ten people answered, the formula of VQA (Antol et al. 2015, arXiv 1505.00468): ``min(matches / 3, 1)``,
    averaged over the ten ways to leave one of them out. Elsewhere exact match with any reference. Both after
    :func:`normalise_answer`.

    Args:
        predictions: N answers.
        references: N lists of at least one answer.

    Raises:
        PcvrError: the lengths differ, there is nothing to score, or an entry has no reference.
    """
    if isinstance(predictions, str) or len(predictions) != len(references):
        raise PcvrError(
            f"{len(predictions)} predictions came with {len(references)} lists of references: give one each."
        )
    if not predictions:
        raise PcvrError("there are no predictions to score: give at least one.")
    found = np.empty(len(predictions))
    for i, (said, texts) in enumerate(zip(predictions, references, strict=True)):
        if isinstance(texts, str) or not texts:
            raise PcvrError(f"the references of answer {i} are {texts!r}: give a list of at least one answer.")
        answer = normalise_answer(said)
        hits = sum(normalise_answer(text) == answer for text in texts)
        if len(texts) == PEOPLE:
            # Leaving out one of those who agree leaves hits - 1, which happens hits times in ten.
            found[i] = (hits * min((hits - 1) / 3, 1) + (PEOPLE - hits) * min(hits / 3, 1)) / PEOPLE if hits else 0.0
        else:
            found[i] = float(hits > 0)
    return found


def vqa_accuracy(predictions: Sequence[str], references: Sequence[Sequence[str]]) -> float:
    """The mean of :func:`vqa_accuracy_each`; arguments and errors are the same."""
    return float(vqa_accuracy_each(predictions, references).mean())
