"""Prompts and answers in the model's chat template, and the answers' token ids."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from pcvr.models.families import Family

Exchange = tuple[str, str]
"""A prompt and its answer."""


class Conversable(Protocol):
    """The parts of a model that a conversation needs: processor, tokenizer and family."""

    @property
    def processor(self) -> Any: ...

    @property
    def tokenizer(self) -> Any: ...

    @property
    def family(self) -> Family: ...


def asked(vlm: Conversable, prompt: str) -> str:
    """Return `prompt` with one image in the family's chat template, ready for generation."""
    if not vlm.processor.chat_template:
        return (vlm.family.template or "{prompt}").replace("{prompt}", prompt)
    return str(vlm.processor.apply_chat_template([_turn("user", prompt, picture=True)], add_generation_prompt=True))


def opening(vlm: Conversable, prompt: str) -> str:
    """Return the text before an answer: `asked`, with what the processor itself adds (PaliGemma's line break)."""
    return asked(vlm, prompt) + ("" if vlm.processor.chat_template else vlm.family.adds)


def answered(vlm: Conversable, prompt: str, answer: str) -> str:
    """Return the conversation: `prompt` with one image, then `answer`; without a template, a space between them."""
    if not vlm.processor.chat_template:
        return f"{asked(vlm, prompt)}{vlm.family.adds or ' '}{answer}"
    return str(vlm.processor.apply_chat_template([_turn("user", prompt, picture=True), _turn("assistant", answer)]))


def answer_ids(vlm: Conversable, exchanges: Sequence[Exchange]) -> list[list[int]]:
    """Return the token ids of answers with the end-of-turn token, as they follow their prompts' ids.

    A byte-level vocabulary has different tokens for a word after a space and alone. So the ids are those of the whole
    conversation without those of the prompt. If the tokenizer merges the prompt's end with the answer's start, the
    answer is tokenized alone, because generation starts from the prompt's own ids.
    """
    prompts = [opening(vlm, prompt) for prompt, _ in exchanges]
    marks = _marks(vlm.tokenizer)
    tails = [_tail(vlm, start, *exchange, marks) for start, exchange in zip(prompts, exchanges, strict=True)]
    before = _ids(vlm, prompts)
    whole = _ids(vlm, [start + tail for start, tail in zip(prompts, tails, strict=True)])
    apart = [ids[: len(start)] != start for start, ids in zip(before, whole, strict=True)]
    alone = iter(_ids(vlm, [tail for tail, cut in zip(tails, apart, strict=True) if cut]))
    return [next(alone) if cut else ids[len(start) :] for start, ids, cut in zip(before, whole, apart, strict=True)]


def end_of_turn(vlm: Conversable) -> int:
    """Return the token id that ends answers in training."""
    return answer_ids(vlm, [("?", "a")])[0][-1]


def _tail(vlm: Conversable, start: str, prompt: str, answer: str, marks: frozenset[str]) -> str:
    """Return the conversation's text after the prompt `start`, up to the end-of-turn token.

    Templates without an end-of-turn token (LLaVA-1.5's) get the tokenizer's end token.
    """
    whole, end = answered(vlm, prompt, answer), vlm.tokenizer.eos_token or ""
    rest = whole.removeprefix(start)
    at = rest.find(answer.strip())
    if not whole.startswith(start) or at < 0:
        return answer + end  # the template rewrites its input
    stop = at + len(answer.strip())
    text, after = rest[:stop], rest[stop:]
    ends = [place + len(mark) for mark in marks if (place := after.find(mark)) >= 0]
    return text + after[: min(ends)] if ends else text + after.rstrip() + end


def _marks(tokenizer: Any) -> frozenset[str]:
    """Return the special tokens, one of which ends a turn."""
    added = (str(token) for token in tokenizer.added_tokens_decoder.values() if token.special)
    return frozenset({*tokenizer.all_special_tokens, *added})


def _ids(vlm: Conversable, texts: Sequence[str]) -> list[list[int]]:
    if not texts:
        return []
    ids: list[list[int]] = vlm.tokenizer(list(texts), add_special_tokens=False)["input_ids"]
    return ids


def _turn(role: str, text: str, picture: bool = False) -> dict[str, Any]:
    return {"role": role, "content": [{"type": "image"}] * picture + [{"type": "text", "text": text}]}
