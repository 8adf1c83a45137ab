"""Arithmetic of a model for one sample, counted from its config: no weights are allocated.

A weight of a linear layer takes 2 FLOPs a token in the forward pass, 2 in the backward pass for the gradient of its
input, and 2 more for its own gradient if it is trained (Kaplan et al. 2020, arXiv 2001.08361, section 2.1). The two
products of attention take 4 x tokens x width each token and layer, and twice that in the backward pass.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from pcvr.models.memory import PROMPT_TOKENS
from pcvr.models.picture_tokens import image_tokens

if TYPE_CHECKING:
    from pcvr.models.families import Family

ANSWER_TOKENS = 64
"""Tokens of a sample that are labels, of `pcvr.models.memory.PROMPT_TOKENS`, unless the caller says otherwise."""


@dataclass(frozen=True)
class Work:
    """FLOPs of one sample, and the sizes that its memory on disk depends on.

    Attributes:
        tower: the frozen tower's forward pass.
        forward: connector and language model, with the adapter.
        backward: their backward pass: gradients of every layer's input, and of the adapter's weights.
        layers: the language model's layers alone, forward: what checkpointing computes again.
        tokens: tokens of the sample in the language model.
        pixels: elements of the image tensors.
        adapter: weights of the adapter.
    """

    tower: float
    forward: float
    backward: float
    layers: float
    tokens: int
    pixels: int
    adapter: int

    def step(self, checkpointing: bool, tower: bool = True) -> float:
        """Return the FLOPs of a training step for the sample.

        Args:
            checkpointing: whether layers are computed again in the backward pass.
            tower: whether the tower runs; it does not where its features are kept.
        """
        return self.looking(tower) + self.backward + checkpointing * self.layers

    def looking(self, tower: bool = True) -> float:
        """Return the FLOPs of a forward pass of the sample, such as that of a view."""
        return tower * self.tower + self.forward


def work_of(
    config: Any,
    family: Family,
    lora_r: int,
    *,
    images: Any = None,
    prompt_tokens: int = PROMPT_TOKENS,
    answer_tokens: int = ANSWER_TOKENS,
) -> Work:
    """Count the work of one sample.

    Args:
        config: the checkpoint's config (``AutoConfig``).
        family: where the model's parts are, and which modules get an adapter.
        lora_r: rank of the adapter.
        images: the image processor, which knows the tiles or patches of the largest image.
        prompt_tokens: tokens of the sample beside those of the image, labels included.
        answer_tokens: how many of them are labels.
    """
    from transformers import AutoModelForImageTextToText

    with torch.device("meta"):
        model = AutoModelForImageTextToText.from_config(config)
    head = model.get_output_embeddings()
    seen = image_tokens(config, images)
    read, tokens = _tower_tokens(config, seen), seen + prompt_tokens
    tower = forward = backward = layers = 0.0
    adapter = 0
    for name, module in model.named_modules():
        if not isinstance(module, nn.Linear | nn.Conv2d | nn.Conv3d) or module is head:
            continue
        size = module.weight.numel()
        if name.startswith(f"{family.tower}."):
            tower += 2.0 * size * read
            continue
        language = name.startswith(f"{family.language_model}.")
        through = tokens if language else seen
        extra = 0
        if re.fullmatch(family.lora_targets, name):
            extra = lora_r * sum(module.weight.shape[:2])
            adapter += extra
        forward += 2.0 * (size + extra) * through
        backward += 2.0 * (size + 2 * extra) * through
        layers += 2.0 * (size + extra) * through * language
    text, vision = config.get_text_config(), config.vision_config
    products = 4.0 * tokens**2 * _width(text) * int(text.num_hidden_layers)
    words = 2.0 * head.weight.numel() * answer_tokens
    deep = int(getattr(vision, "num_hidden_layers", None) or getattr(vision, "depth", None) or 0)
    within = _tokens_a_tile(config)
    tower += 4.0 * within * read * int(getattr(vision, "embed_dim", None) or vision.hidden_size) * deep
    patch = int(getattr(vision, "patch_size", 14))
    pixels = 3 * patch**2 * read * int(getattr(vision, "temporal_patch_size", 1))
    return Work(
        tower=tower,
        forward=forward + products + words,
        backward=backward + 2 * products + words,
        layers=layers + products,
        tokens=tokens,
        pixels=pixels,
        adapter=adapter,
    )


def _width(text: Any) -> int:
    """Return the width of all heads together."""
    head = getattr(text, "head_dim", None) or text.hidden_size // text.num_attention_heads
    return int(head) * int(text.num_attention_heads)


def _tokens_a_tile(config: Any) -> int:
    """Return the tokens that attend to each other in the tower; for images of any size, all of the largest."""
    vision = config.vision_config
    if not hasattr(vision, "image_size"):
        return _tower_tokens(config, image_tokens(config))
    return (int(vision.image_size) // int(vision.patch_size)) ** 2


def _tower_tokens(config: Any, seen: int) -> int:
    """Return the tokens that the tower reads of an image that has `seen` tokens in the language model."""
    vision = config.vision_config
    if not hasattr(vision, "image_size"):  # Qwen merges neighbours
        return seen * int(vision.spatial_merge_size) ** 2
    side = (int(vision.image_size) // int(vision.patch_size)) ** 2
    merged = int(getattr(config, "scale_factor", None) or 1) ** 2
    queries = getattr(config, "num_query_tokens", None)
    return side * (1 if queries else max(1, round(seen / (side / merged))))
