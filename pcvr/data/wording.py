"""Checks of prompts and answers from outside; every later step accepts texts that pass here."""

from __future__ import annotations

import re
from collections.abc import Sequence

from pcvr.data.report import BROKEN, EMPTY, TOKEN, EntryError
from pcvr.data.texts import encoded

IMAGE_TOKEN = re.compile(
    r"<\|?/?[\w-]{0,40}(?:image|img|vision|video)[\w-]{0,40}\|?>|<row_\d+_col_\d+>|<im_(?:start|end|patch)>"
    r"|\[IMG(?:_BREAK|_END)?\]"
)
"""Image tokens of all model families. A text may not hold them, since the processor adds its own."""

_LEADING = re.compile(rf"\s*(?:(?:{IMAGE_TOKEN.pattern})\s*)*")
_SHOWN = 60


def clean_prompt(text: object) -> str:
    """Return a prompt without outer spaces and without image tokens at its ends, as in LLaVA's data; it may be empty.

    Raises:
        EntryError: it is not a text, has an image token in its middle, or has no UTF-8 form.
    """
    prompt = _text(text, "prompt")
    if "<" in prompt or "[" in prompt:
        prompt = _without_ends(prompt)
        _refuse_tokens(prompt, "prompt")
    return prompt.strip()


def clean_exchange(number: int, asked: object, answered: object, asks: bool) -> tuple[str, str]:
    """Return the cleaned question and answer of one exchange of a conversation.

    Args:
        number: its number in the conversation, from 1, for messages.
        asked: the question.
        answered: the answer, which must not be empty.
        asks: whether the question must not be empty either; the first one may have the task's own prompt.

    Raises:
        EntryError: a text is empty or not allowed.
    """
    where = f"exchange {number}: " if number > 1 else ""
    try:
        prompt, answer = clean_prompt(asked), clean_answer(answered)
        if not answer:
            raise EntryError(EMPTY, "the gpt answer is empty")
        if not prompt and (asks or number > 1):
            raise EntryError(EMPTY, "the question is empty")
    except EntryError as error:
        raise EntryError(error.kind, f"{where}{error}") from error
    return prompt, answer


def clean_answer(text: object, what: str = "answer") -> str:
    """Return an answer or a reference without outer spaces; it may be empty.

    Args:
        text: the text.
        what: its name in messages.

    Raises:
        EntryError: it is not a text, has an image token, or has no UTF-8 form.
    """
    answer = _text(text, what)
    if "<" in answer or "[" in answer:
        _refuse_tokens(answer, what)
    return answer.strip()


def clean_references(texts: object, keep_empty: bool = True) -> tuple[str, ...]:
    """Return acceptable answers without outer spaces.

    Args:
        texts: a list with at least one text that is not empty.
        keep_empty: whether empty ones stay: VQA accuracy counts all ten answers.

    Raises:
        EntryError: it is not such a list, or a text is not allowed.
    """
    if not isinstance(texts, list | tuple) or not texts or not all(isinstance(text, str) for text in texts):
        raise EntryError(BROKEN, "references is not a list of at least one text")
    found = tuple(clean_answer(text, "reference") for text in texts)
    if not any(found):
        raise EntryError(EMPTY, "the references are empty")
    return found if keep_empty else tuple(filter(None, found))


def most_common(answers: Sequence[str]) -> str:
    """Return the most frequent answer that is not empty; of several the first.

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
            TOKEN, f"the {what} {shown!r} holds the image token {found[0]!r}, which models add themselves: remove it"
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
