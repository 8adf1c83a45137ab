"""Prompts and answers in the model's chat template, and the answers' token ids."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from pcvr.errors import PcvrError, reason, shown

if TYPE_CHECKING:
    from pcvr.data.sample import Exchange
    from pcvr.models.families import Family


class Conversable(Protocol):
    """The parts of a model that a conversation needs: processor, tokenizer and family."""

    @property
    def processor(self) -> Any: ...

    @property
    def tokenizer(self) -> Any: ...

    @property
    def family(self) -> Family: ...


class Piece(NamedTuple):
    """Token ids that follow each other in a conversation, and whether they are a label: an answer with its end."""

    ids: list[int]
    label: bool


def asked(vlm: Conversable, prompt: str) -> str:
    """Return `prompt` with one image in the family's chat template, ready for generation.

    Raises:
        PcvrError: the prompt has a system turn (`pcvr.data.sample.Question`), which the template leaves out.
    """
    return _written(vlm, prompt, ())


def opening(vlm: Conversable, prompt: str) -> str:
    """Return the text before an answer: `asked`, with what the processor itself adds (PaliGemma's line break)."""
    return asked(vlm, prompt) + ("" if vlm.processor.chat_template else vlm.family.adds)


def answered(vlm: Conversable, prompt: str, answer: str) -> str:
    """Return the conversation: `prompt` with one image, then `answer`; without a template, a space between them."""
    return _written(vlm, prompt, (answer,))


def answer_ids(vlm: Conversable, exchanges: Sequence[Exchange]) -> list[list[int]]:
    """Return the token ids of answers with the end-of-turn token, as they follow their prompts' ids.

    A byte-level vocabulary has different tokens for a word after a space and alone. So the ids are those of the whole
    conversation without those of the prompt. If the tokenizer merges the prompt's end with the answer's start, the
    answer is tokenized alone, because generation starts from the prompt's own ids.
    """
    prompts = [opening(vlm, prompt) for prompt, _ in exchanges]
    marks = _marks(vlm.tokenizer)
    tails = [
        _tail(vlm, start, answered(vlm, *exchange), exchange[1], marks)[0]
        for start, exchange in zip(prompts, exchanges, strict=True)
    ]
    before = _ids(vlm, prompts)
    whole = _ids(vlm, [start + tail for start, tail in zip(prompts, tails, strict=True)])
    apart = [ids[: len(start)] != start for start, ids in zip(before, whole, strict=True)]
    alone = iter(_ids(vlm, [tail for tail, cut in zip(tails, apart, strict=True) if cut]))
    return [next(alone) if cut else ids[len(start) :] for start, ids, cut in zip(before, whole, apart, strict=True)]


def pieces(vlm: Conversable, exchanges: Sequence[Exchange]) -> list[Piece]:
    """Return what follows the first prompt of a conversation: its answer, then each later prompt and answer.

    The text is that of the whole conversation in the chat template. Every answer with its end-of-turn token is a
    label, as LLaVA trains. A template without an end-of-turn token gets the tokenizer's end token after each answer,
    in place of spaces, as in LLaVA's own conversations.

    Args:
        vlm: the model.
        exchanges: the prompts and answers, in order; only the first has an image.

    Raises:
        PcvrError: the template writes earlier turns differently when later ones follow.
    """
    marks = _marks(vlm.tokenizer)
    texts: list[str] = []
    said: list[str] = [exchanges[0][0]]
    start = opening(vlm, said[0])
    whole_text = [start]
    for place, (_, answer) in enumerate(exchanges):
        said.append(answer)
        whole = _written(vlm, said[0], said[1:])
        tail, used = _tail(vlm, start, whole, answer, marks)
        texts.append(tail)
        if place + 1 == len(exchanges):
            break
        said.append(exchanges[place + 1][0])
        after = _written(vlm, said[0], said[1:])
        if not whole.startswith(start) or not after.startswith(whole.rstrip()):
            raise PcvrError(
                "the model's chat template writes earlier turns differently when later ones follow, so answers cannot "
                "be told from questions: open the data with turns='apart' (--turns apart)."
            )
        rest = after[len(start) + used :]
        own_end = tail == whole[len(start) : len(start) + used]
        texts.append(rest if own_end else rest.lstrip())
        start = after
    for text in texts:
        whole_text.append(whole_text[-1] + text)
    ids = _ids(vlm, whole_text)
    found = []
    for place, text in enumerate(texts):
        before, now = ids[place], ids[place + 1]
        own = now[len(before) :] if now[: len(before)] == before else _ids(vlm, [text])[0]
        found.append(Piece(own, place % 2 == 0))
    return found


def end_of_turn(vlm: Conversable) -> int:
    """Return the token id that ends answers in training."""
    return answer_ids(vlm, [("?", "a")])[0][-1]


def _written(vlm: Conversable, first: str, later: Sequence[str]) -> str:
    """Return a conversation as text: the `first` prompt with the image, then answers and prompts in turn.

    After an answer it ends there; after a prompt it is ready for generation.
    """
    system = str(getattr(first, "system", ""))
    if not vlm.processor.chat_template:
        template = vlm.family.template or "{prompt}"
        text = " ".join([*([system] if system else []), template.replace("{prompt}", first)])
        for place, said in enumerate(later):
            text += f" {template.replace('{prompt}', said)}" if place % 2 else f"{vlm.family.adds or ' '}{said}"
        return text
    turns = [_turn("user", first, picture=True)]
    turns += [_turn("user" if place % 2 else "assistant", said) for place, said in enumerate(later)]
    if not system:
        return _rendered(vlm, turns)
    text = _rendered(vlm, [_turn("system", system), *turns])
    if text == _rendered(vlm, turns):
        raise PcvrError(
            f"the model's chat template leaves out the system turn {shown(system)}: remove system turns from the data, "
            "or put their text into the questions."
        )
    return text


def _rendered(vlm: Conversable, turns: list[dict[str, Any]]) -> str:
    try:
        return str(vlm.processor.apply_chat_template(turns, add_generation_prompt=turns[-1]["role"] == "user"))
    except Exception as error:  # whatever a template of somebody else raises
        roles = ", ".join(dict.fromkeys(turn["role"] for turn in turns))
        raise PcvrError(
            f"the model's chat template cannot write {len(turns)} turns of {roles} ({reason(error)}): remove what "
            "it does not take from the data, or use another model."
        ) from error


def _tail(vlm: Conversable, start: str, whole: str, answer: str, marks: frozenset[str]) -> tuple[str, int]:
    """Return the text of `whole` after the prompt `start`, up to the end-of-turn token, and how much of it is used.

    Templates without an end-of-turn token (LLaVA-1.5's) get the tokenizer's end token.
    """
    end = vlm.tokenizer.eos_token or ""
    rest = whole.removeprefix(start)
    at = rest.find(answer.strip())
    if not whole.startswith(start) or at < 0:
        return answer + end, len(rest)  # the template rewrites its input
    stop = at + len(answer.strip())
    text, after = rest[:stop], rest[stop:]
    ends = [place + len(mark) for mark in marks if (place := after.find(mark)) >= 0]
    if ends:
        return text + after[: min(ends)], stop + min(ends)
    return text + after.rstrip() + end, stop + len(after.rstrip())


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
    return {"role": role, "content": [{"type": "image"}] * picture + [{"type": "text", "text": str(text)}]}
