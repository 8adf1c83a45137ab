"""Give a new model the language model of one that speaks already, as BLIP-2 and LLaVA-1.5 start from one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from pcvr.models.vlm import VisionLanguageModel


@torch.no_grad()
def borrow_language(model: Any, tokenizer: Any, source: VisionLanguageModel) -> None:
    """Copy the language model of `source` into `model`, word by word where their vocabularies are in another order.

    Words that `source` does not have keep their fresh rows.

    Args:
        model: as built, its language model of the same shape.
        tokenizer: the new model's.
        source: the model that speaks already.
    """
    from pcvr.models.families import family_of

    decoders = [
        getattr(part, "model", part)
        for part in (family_of(each).part(each, "language_model") for each in (model, source.model))
    ]
    known = source.tokenizer.get_vocab()
    pairs = [(ours, known[word]) for word, ours in tokenizer.get_vocab().items() if word in known]
    ours, theirs = (torch.tensor(each) for each in zip(*pairs, strict=True))
    for part in ("get_input_embeddings", "get_output_embeddings"):
        table, other = getattr(model, part)().weight, getattr(source.model, part)().weight
        table[ours] = other[theirs].to(table)
    fresh, told = (each.state_dict() for each in decoders)
    decoders[0].load_state_dict({k: fresh[k] if k == "embed_tokens.weight" else v for k, v in told.items()})
