"""What a processor says of each token of a prompt, and what follows for the tokens of an answer."""

from __future__ import annotations

import torch
from torch import Tensor

IMAGE_MASKS = ("cross_attention_mask", "image_attention_mask")
"""Outputs of a processor that say, for each token, which images or tiles it attends to by cross-attention."""
OF_TOKENS = ("input_ids", "token_type_ids", "mm_token_type_ids", *IMAGE_MASKS)
"""Outputs of a processor with one value, or one row of values, a token."""


def prolonged(name: str, values: Tensor, count: int, answer_type: int, along: int = 0) -> Tensor:
    """Return what a processor says of each token of a prompt, with values for `count` tokens of an answer after it.

    An answer attends to the image as the prompt's last token does. Its types are `answer_type`, all other values 0.
    """
    last = values.narrow(along, values.shape[along] - 1, 1)
    more = last.repeat_interleave(count, along)
    if name not in IMAGE_MASKS:
        more = torch.full_like(more, answer_type if name == "token_type_ids" else 0)
    return torch.cat([values, more], along)
