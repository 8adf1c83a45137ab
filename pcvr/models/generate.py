"""Greedy answers in batches, with a key-value cache."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch

from pcvr.errors import PcvrError
from pcvr.models.conversation import end_of_turn

if TYPE_CHECKING:
    from pcvr.data.sample import Image
    from pcvr.models.vlm import VisionLanguageModel

MAX_NEW_TOKENS = 40
"""Answer budget in tokens; longer than any caption of the scenes."""


@torch.inference_mode()
def generate(
    vlm: VisionLanguageModel,
    images: Sequence[Image],
    prompts: Sequence[str],
    max_new_tokens: int = MAX_NEW_TOKENS,
    batch_size: int = 256,
) -> list[str]:
    """The model's greedy answer to each picture and prompt.

    Args:
        vlm: from `pcvr.load` or a fine-tuning's ``model``.
        images: N pictures, uint8 ``[H, W, 3]`` or PIL.
        prompts: N prompts, without image tokens or template.
        max_new_tokens: answers end here at the latest.
        batch_size: pictures at a time; prompts are padded on the left, so batching changes no answer.

    Returns:
        N texts without special tokens.

    Raises:
        PcvrError: another number of prompts than of pictures, a count below 1, an image token in a prompt.
    """
    if len(images) != len(prompts):
        raise PcvrError(f"{len(images)} images came with {len(prompts)} prompts: give one prompt for each picture.")
    if max_new_tokens < 1:
        raise PcvrError(f"max_new_tokens must be at least 1, got {max_new_tokens}.")
    if batch_size < 1:
        raise PcvrError(f"batch_size must be at least 1, got {batch_size}.")
    texts: list[str] = []
    vlm.model.eval()
    ends = _ends(vlm)
    for start in range(0, len(images), batch_size):
        inputs = vlm.encode(images[start : start + batch_size], prompts[start : start + batch_size])
        output = vlm.model.generate(
            **inputs, max_new_tokens=max_new_tokens, do_sample=False, use_cache=True, eos_token_id=ends
        )
        fresh = output[:, inputs["input_ids"].shape[1] :]
        texts += [t.strip() for t in vlm.tokenizer.batch_decode(fresh, skip_special_tokens=True)]
    return texts


def _ends(vlm: VisionLanguageModel) -> list[int]:
    """What ends an answer: what ends it in fine-tuning, the tokenizer's end, and what the model came with."""
    own = [
        getattr(part, "generation_config", None) for part in (vlm.base, vlm.family.part(vlm.model, "language_model"))
    ]
    found = [end_of_turn(vlm), vlm.tokenizer.eos_token_id]
    for config in own:
        ids = getattr(config, "eos_token_id", None)
        found += ids if isinstance(ids, list) else [ids]
    return list(dict.fromkeys(token for token in found if token is not None))
