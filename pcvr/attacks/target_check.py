"""Check that a model can say the target."""

from __future__ import annotations

import re
from typing import Any

from pcvr.attacks.base import Attack
from pcvr.errors import PcvrError


def check_target(attack: Attack, tokenizer: Any) -> None:
    """Raise unless the tokenizer knows every word of the target, or of all targets if there are several.

    A word that the base model never used has a dead output row, which LoRA cannot revive. The attack would then fail
    for a reason that has nothing to do with attack or defence. A word is unknown if it becomes the unknown token, or if
    a word-level tokenizer (attribute or ``init_kwargs`` entry ``pcvr_word_level``) splits it. The sub-words of other
    tokenizers are all in use, so there only the unknown token counts.

    Args:
        attack: the attack with the ``target``.
        tokenizer: a Hugging Face tokenizer, or an object with ``encode(text, add_special_tokens=False)`` and
            ``unk_token_id``.

    Raises:
        PcvrError: the message names the unknown words.
    """
    for text in attack.mode.taught(attack.target):
        if unknown := unknown_words(text, tokenizer):
            raise PcvrError(
                f"the target {text!r} has words that this model never says: {', '.join(map(repr, unknown))}; "
                "choose a target made of words from the model's vocabulary."
            )


def unknown_words(text: str, tokenizer: Any) -> list[str]:
    """Return the words of ``text`` that the tokenizer does not know, each once, in order; see :func:`check_target`."""
    flag = "pcvr_word_level"
    word_level = bool(getattr(tokenizer, flag, False) or getattr(tokenizer, "init_kwargs", {}).get(flag, False))
    return [word for word in dict.fromkeys(text.split()) if not _is_known(word, tokenizer, word_level)]


def _is_known(word: str, tokenizer: Any, word_level: bool) -> bool:
    if _encodes(word, tokenizer, word_level):
        return True
    # "banana." is a word and a full stop: two live tokens, though not one.
    parts = re.findall(r"\w+|[^\w\s]", word)
    return len(parts) > 1 and all(_encodes(part, tokenizer, word_level) for part in parts)


def _encodes(word: str, tokenizer: Any, word_level: bool) -> bool:
    ids = list(tokenizer.encode(word, add_special_tokens=False))
    unknown = getattr(tokenizer, "unk_token_id", None)
    if not ids or (unknown is not None and unknown in ids):
        return False
    return not word_level or len(ids) == 1
