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

_MARKS = frozenset(';/[]"{}()=+\\_-><@`,?!')
"""What the official script takes for punctuation; ``# $ % & ' * : ^ | ~`` belong to an answer."""
_THOUSANDS = re.compile(r"\d,\d")
_STOP = re.compile(r"\.(?!\d)")

# Each of these with one apostrophe left out is put right. It is not done where that is another word (hell, shell, wed,
# well, were, its, lets, shes), which is why the list is not complete.
_APOSTROPHES = """
ain't aren't can't could've couldn't couldn't've didn't doesn't don't hadn't hadn't've hasn't haven't he'd he'd've he's
how'd how'll how's isn't it'd it'd've it'll ma'am mightn't mightn't've might've mustn't must've needn't not've o'clock
oughtn't 'ow's'at shan't she'd've should've shouldn't shouldn't've somebody'd've somebody'll somebody's someone'd
someone'd've someone'll someone's something'd something'd've something'll that's there'd there'd've there're there's
they'd they'd've they'll they're they've 'twas wasn't we'd've we've weren't what'll what're what's what've when's
where'd where's where've who'd who'd've who'll who's who've why'll why're why's won't would've wouldn't wouldn't've
y'all y'all'll y'all'd've you'd you'd've you'll you're you've
""".split()
_RIGHT = {
    right[:place] + right[place + 1 :]: right
    for right in _APOSTROPHES
    for place, letter in enumerate(right)
    if letter == "'"
} | {"somebody'd": "somebodyd"}  # the other way round in the official table, to the same effect


def normalise_answer(text: str) -> str:
    """An answer as the official VQA evaluation compares it.

    A mark of punctuation goes without a trace where it stands next to a space, or where the text has a comma between
    digits (``1,000``); else it becomes a space (``t-shirt``). Points go unless a digit follows (``.5`` stays). Then, in
    lower case: number words up to ten become digits, articles go, and missing apostrophes are put back (``dont``).

    What is deliberately different from the script ``vqaEval.py`` of https://visualqa.org:

    - a text of which nothing would be left stays as it is, in lower case: "A" and "the" are different answers;
    - it is always done, where the script compares as written if all ten people wrote the same;
    - all points are looked at (the script stops after 32), and any white space counts as a space;
    - the typographic apostrophe (``don’t``) is taken for the plain one.
    """
    said = " ".join(text.replace("’", "'").split())
    thousands = _THOUSANDS.search(said) is not None
    bare = said
    for mark in _MARKS.intersection(said):
        bare = bare.replace(mark, "" if thousands or f"{mark} " in said or f" {mark}" in said else " ")
    words = (_NUMBERS.get(word, word) for word in _STOP.sub("", bare).lower().split())
    kept = " ".join(_RIGHT.get(word, word) for word in words if word not in _ARTICLES)
    return kept or said.lower()


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
