"""What the embedded models share: picture size, language model, and how answers end."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from transformers import LlamaConfig

IMAGE_PX = 96
"""Side of the square picture every embedded tower reads, in pixels."""
WIDTH = 128
"""Width of towers, connectors and language models."""
LEVELS = {"image_mean": [0.5, 0.5, 0.5], "image_std": [0.25, 0.25, 0.25]}
"""How pictures are normalised: levels 0 to 1 become -2 to 2."""


def language_config(tokenizer: Any, width: int = WIDTH) -> LlamaConfig:
    """The language model all three share: a Llama of four layers over the embedded vocabulary."""
    from transformers import LlamaConfig

    return LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=width,
        intermediate_size=344,
        num_hidden_layers=4,
        num_attention_heads=4,
        num_key_value_heads=4,
        max_position_embeddings=512,
        pad_token_id=tokenizer.pad_token_id,
        eos_token_id=tokenizer.eos_token_id,
        bos_token_id=None,
    )


def made_ready(model: Any, language_model: Any, tokenizer: Any) -> Any:
    """`model` with a start that helps it, told which token ends an answer and which pads a batch of them.

    Keys start equal to queries, so that a word looks for what is like it from the first step. Together with image
    tokens that lie where their words lie (see `pcvr.pretraining.heads`), "what colour is the cat?" then finds the cat.
    """
    import torch

    with torch.no_grad():
        for layer in language_model.layers:
            layer.self_attn.q_proj.weight.mul_(2)
            layer.self_attn.k_proj.weight.copy_(layer.self_attn.q_proj.weight)
    model.generation_config.pad_token_id = tokenizer.pad_token_id
    model.generation_config.eos_token_id = tokenizer.eos_token_id
    model.generation_config.bos_token_id = None
    return model
