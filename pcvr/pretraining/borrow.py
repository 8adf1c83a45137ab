"""Initialise a new model with a trained language model, as BLIP-2 and LLaVA-1.5 do."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from pcvr.models.vlm import VisionLanguageModel


@torch.no_grad()
def borrow_language(model: Any, tokenizer: Any, source: VisionLanguageModel) -> None:
    """Copy the language model of `source` into `model`; embeddings are copied by word, since vocabularies may differ.

    Words that `source` lacks keep their fresh embeddings.

    Args:
        model: a new model, whose language model has the same shape.
        tokenizer: the new model's tokenizer.
        source: the trained model.
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
    fresh, trained = (each.state_dict() for each in decoders)
    decoders[0].load_state_dict({k: fresh[k] if k == "embed_tokens.weight" else v for k, v in trained.items()})
