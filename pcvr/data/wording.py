"""The one rule for prompts and answers from outside: what passes here, every later step takes."""

from __future__ import annotations

import re
from collections.abc import Sequence

from pcvr.data.report import BROKEN, EMPTY, TOKEN, EntryError
from pcvr.data.texts import encoded

IMAGE_TOKEN = re.compile(
    r"<\|?/?[\w-]{0,40}(?:image|img|vision|video)[\w-]{0,40}\|?>|<row_\d+_col_\d+>|<im_(?:start|end|patch)>"
    r"|\[IMG(?:_BREAK|_END)?\]"
)
"""What stands for a picture, or marks its place, in one model family or another. A processor puts in its own."""

_LEADING = re.compile(rf"\s*(?:(?:{IMAGE_TOKEN.pattern})\s*)*")
_SHOWN = 60


def clean_prompt(text: object) -> str:
    """A prompt without outer spaces and without the image tokens at its ends, which LLaVA's data have; it may be empty.

    Raises:
        EntryError: it is not a text, holds an image token in its middle or half of a surrogate pair.
    """
    said = _text(text, "prompt")
    if "<" in said or "[" in said:
        said = _without_ends(said)
        _refuse_tokens(said, "prompt")
    return said.strip()


def clean_answer(text: object, what: str = "answer") -> str:
    """An answer or a reference without outer spaces; it may be empty.

    Args:
        text: what came.
        what: what it is called in an error.

    Raises:
        EntryError: it is not a text, holds an image token or half of a surrogate pair.
    """
    said = _text(text, what)
    if "<" in said or "[" in said:
        _refuse_tokens(said, what)
    return said.strip()


def clean_references(texts: object, keep_empty: bool = True) -> tuple[str, ...]:
    """Acceptable answers.

    Args:
        texts: a list of at least one text that is not empty.
        keep_empty: whether empty ones stay, as for people who gave no answer: VQA accuracy counts all ten.

    Raises:
        EntryError: it is no such list, or one of the texts cannot be used.
    """
    if not isinstance(texts, list | tuple) or not texts or not all(isinstance(text, str) for text in texts):
        raise EntryError(BROKEN, "references is not a list of at least one text")
    found = tuple(clean_answer(text, "reference") for text in texts)
    if not any(found):
        raise EntryError(EMPTY, "the references are empty")
    return found if keep_empty else tuple(filter(None, found))


def most_common(answers: Sequence[str]) -> str:
    """The answer that most people gave; of several the first. Empty ones do not count.

    Raises:
        EntryError: all are empty.
    """
    counts: dict[str, int] = {}
    for answer in filter(None, answers):
        counts[answer] = counts.get(answer, 0) + 1
    if not counts:
        raise EntryError(EMPTY, "all the answers are empty")
    return max(counts, key=counts.__getitem__)


def _text(text: object, what: str) -> str:
    if not isinstance(text, str):
        raise EntryError(BROKEN, f"the {what} is a {type(text).__name__}, not a text")
    encoded(text)
    return text


def _refuse_tokens(text: str, what: str) -> None:
    found = IMAGE_TOKEN.search(text)
    if found:
        shown = text if len(text) <= _SHOWN else f"{text[: _SHOWN - 3]}..."
        raise EntryError(
            TOKEN, f"the {what} {shown!r} holds the image token {found[0]!r}, which models put in: take it out"
        )


def _without_ends(text: str) -> str:
    leading = _LEADING.match(text)
    start, end = leading.end() if leading else 0, len(text.rstrip())
    while end > start and text[end - 1] in ">]":
        begin = max(text.rfind("<", start, end), text.rfind("[", start, end))
        if begin < 0 or not IMAGE_TOKEN.fullmatch(text, begin, end):
            break
        end = len(text[:begin].rstrip())
    return text[start:end]
