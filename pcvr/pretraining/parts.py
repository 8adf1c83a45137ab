"""What the embedded models share: image size, sizes of the tower, language model, and end of answers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from transformers import LlamaConfig

IMAGE_PX = 96
"""Side of the square images of the embedded towers, in pixels."""
WIDTH = 128
"""Width of towers, connectors and language models."""
LEVELS = {"image_mean": [0.5, 0.5, 0.5], "image_std": [0.25, 0.25, 0.25]}
"""Normalisation of images: levels 0 to 1 become -2 to 2."""


def tower_sizes(image_px: int, patch_px: int, width: int, layers: int) -> dict[str, int]:
    """Return the arguments that the configs of all three towers share."""
    return {
        "hidden_size": width,
        "intermediate_size": 4 * width,
        "num_hidden_layers": layers,
        "num_attention_heads": 4,
        "image_size": image_px,
        "patch_size": patch_px,
    }


def language_config(tokenizer: Any, width: int = WIDTH) -> LlamaConfig:
    """Return the config of the shared language model: a Llama of four layers over the embedded vocabulary."""
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
    """Initialise the attention of `model` and set its end and padding tokens; return it.

    Keys start equal to queries, so that a word attends to similar tokens from the first step. Image tokens become
    similar to their words (see `pcvr.pretraining.heads`), so "what colour is the cat?" finds the cat.
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
