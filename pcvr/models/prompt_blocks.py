"""The tokens of a prompt by their role: those of the template (the system block), of the image, and of the user's text.

The chat templates of most families, the embedded ones too, have no system message. Then special tokens (such as the
start token and the marks of turns) and the template's role words (``USER:``) stand in for one.
"""

from __future__ import annotations

from itertools import takewhile
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from pcvr.models.conversation import opening

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from pcvr.models.vlm import VisionLanguageModel

BLOCKS = ("system", "image", "user text")
PROBES = ("?", "red cat")
"""Two prompts that share no word: what the conversation around them shares is the template."""


def prompt_blocks(vlm: VisionLanguageModel, ids: Tensor, last: Tensor) -> Tensor:
    """Return the role of each prompt token.

    Args:
        vlm: the model whose template the prompts are in.
        ids: ``[B, T]``, encoded samples without padding on the left.
        last: ``[B]``, position of each prompt's last token.

    Returns:
        bool ``[B, 3, T]`` in the order of `BLOCKS`. Each prompt token is in one block, tokens after `last` in none.
    """
    ids, last = ids.cpu(), last.cpu()
    prompt = torch.arange(ids.shape[1]) <= last[:, None]
    image = prompt & (ids == vlm.image_token_id)
    ordinary = prompt & ~image & ~torch.isin(ids, torch.tensor(_special(vlm)))
    before, after = role_words(vlm)
    place = ordinary.cumsum(1)  # an ordinary token's number, from 1
    role = ordinary & ((place <= before) | (place > place[:, -1:] - after))
    text = ordinary & ~role
    return torch.stack([prompt & ~image & ~text, image, text], 1)


def role_words(vlm: VisionLanguageModel) -> tuple[int, int]:
    """Return how many ordinary tokens, neither special nor of the image, the template has before and after the text."""
    special = {*_special(vlm), vlm.image_token_id}
    probes = vlm.tokenizer([opening(vlm, probe) for probe in PROBES], add_special_tokens=False)["input_ids"]
    one, other = ([token for token in ids if token not in special] for ids in probes)
    before = _shared(one, other)
    return before, _shared(one[before:][::-1], other[before:][::-1])


def _shared(one: Sequence[int], other: Sequence[int]) -> int:
    """Return how many tokens two sequences begin with in common."""
    pairs: Iterable[tuple[int, int]] = zip(one, other, strict=False)
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))


def _special(vlm: VisionLanguageModel) -> list[int]:
    """Return the ids of special tokens; an unknown word of a prompt is none."""
    tokenizer = vlm.tokenizer
    marked = {token for token, added in tokenizer.added_tokens_decoder.items() if added.special}
    return sorted({*tokenizer.all_special_ids, *marked} - {tokenizer.unk_token_id})
