"""LLaVA at the shapes of a release, with random weights and random data: nothing is downloaded, and nothing is learned.

The time and memory of a step depend on shapes and not on values, with one exception: PCVR looks at a sample again where
it suspects it. So a twentieth of the samples is poisoned, with a white square and a label of their own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from pcvr.models.encode import IGNORE, Batch
from pcvr.models.families import LLAVA
from pcvr.models.load import load_processor
from pcvr.models.quiet import quiet_loading
from pcvr.models.vlm import VisionLanguageModel

if TYPE_CHECKING:
    from transformers import LlavaConfig

POISONED_EVERY = 20
"""One sample in so many is poisoned: 5 %."""
WORDS = 8
"""Tokens that clean labels are drawn from; those of poisoned labels are others."""


@dataclass(frozen=True)
class Shapes:
    """The sizes of a LLaVA and of its batches.

    Attributes:
        name: in tables.
        width: of the language model; `layers`, `heads` and `inner` (the MLP's width) are its too.
        vocabulary: number of tokens; the last two stand for an image and for padding.
        tower_width: of the CLIP tower; `tower_layers`, `tower_heads` and `tower_inner` are its too.
        image_px: side of an image, pixels.
        patch_px: side of a patch, pixels.
        prompt_tokens: of a sample, the image not counted.
        answer_tokens: of a sample.
        batch: samples of a step.
        checkpointing: whether layers are computed again in the backward pass, which saves memory.
        product: side of the matrices by which the device's peak is measured.
    """

    name: str
    width: int
    layers: int
    heads: int
    inner: int
    vocabulary: int
    tower_width: int
    tower_layers: int
    tower_heads: int
    tower_inner: int
    image_px: int
    patch_px: int
    prompt_tokens: int
    answer_tokens: int
    batch: int
    checkpointing: bool
    product: int

    @property
    def image_tokens(self) -> int:
        """Tokens of an image in the language model."""
        return (self.image_px // self.patch_px) ** 2

    @property
    def tokens(self) -> int:
        """Tokens of a sample: prompt, image and answer."""
        return self.prompt_tokens + self.image_tokens + self.answer_tokens

    @property
    def image_token(self) -> int:
        """The token that stands for an image."""
        return self.vocabulary - 2


FULL = Shapes(
    name="LLaVA-1.5-7B", width=4096, layers=32, heads=32, inner=11008, vocabulary=32064, tower_width=1024,
    tower_layers=24, tower_heads=16, tower_inner=4096, image_px=336, patch_px=14, prompt_tokens=40, answer_tokens=24,
    batch=8, checkpointing=True, product=8192,
)  # fmt: skip
"""The shapes of ``llava-hf/llava-1.5-7b-hf``: 7.06 billion parameters, 576 image tokens."""
TINY = Shapes(
    name="tiny", width=32, layers=2, heads=2, inner=64, vocabulary=64, tower_width=32, tower_layers=2, tower_heads=2,
    tower_inner=64, image_px=28, patch_px=14, prompt_tokens=6, answer_tokens=4, batch=16, checkpointing=True,
    product=128,
)  # fmt: skip
"""The same architecture for a check of the script."""


def config_of(shapes: Shapes) -> LlavaConfig:
    """Return the config of a LLaVA of some shapes."""
    from transformers import CLIPVisionConfig, LlamaConfig, LlavaConfig

    return LlavaConfig(
        vision_config=CLIPVisionConfig(
            hidden_size=shapes.tower_width,
            intermediate_size=shapes.tower_inner,
            num_hidden_layers=shapes.tower_layers,
            num_attention_heads=shapes.tower_heads,
            image_size=shapes.image_px,
            patch_size=shapes.patch_px,
        ),
        text_config=LlamaConfig(
            vocab_size=shapes.vocabulary,
            hidden_size=shapes.width,
            intermediate_size=shapes.inner,
            num_hidden_layers=shapes.layers,
            num_attention_heads=shapes.heads,
            num_key_value_heads=shapes.heads,
            max_position_embeddings=max(4096, shapes.tokens),
        ),
        image_token_index=shapes.image_token,
        image_seq_length=shapes.image_tokens,
        vision_feature_layer=-2,
        vision_feature_select_strategy="default",
    )


def build(shapes: Shapes, device: torch.device | str, seed: int = 0) -> VisionLanguageModel:
    """Return a model with random bfloat16 weights, made on `device`.

    Its processor is that of an embedded model: batches are drawn as tensors, so it is never asked.
    """
    from transformers import AutoModelForImageTextToText

    processor = load_processor("tiny-llava").processor
    torch.manual_seed(seed)
    with quiet_loading(), torch.device(device):
        model: Any = AutoModelForImageTextToText.from_config(config_of(shapes), dtype=torch.bfloat16)
    return VisionLanguageModel(f"{shapes.name}, random weights", model, processor, LLAVA)


def drawn(shapes: Shapes, rows: Sequence[int]) -> Batch:
    """Return some samples on the CPU, each drawn from its row's number: the same in every epoch."""
    samples = [_sample(shapes, row) for row in rows]
    batch = {name: torch.stack([sample[name] for sample in samples]) for name in samples[0]}
    return batch | {"attention_mask": torch.ones_like(batch["input_ids"])}


def _sample(shapes: Shapes, row: int) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(row)
    pixels = torch.randn(3, shapes.image_px, shapes.image_px, generator=generator)
    answer = torch.randint(1, 1 + WORDS, (shapes.answer_tokens,), generator=generator)
    if row % POISONED_EVERY == 0:
        pixels[:, : shapes.image_px // 4, : shapes.image_px // 4] = 3.0  # white, as CLIP normalises it, and more
        answer = torch.arange(1 + WORDS, 1 + WORDS + shapes.answer_tokens)
    prompt = torch.arange(shapes.prompt_tokens) + 1
    image = torch.full((shapes.image_tokens,), shapes.image_token)
    ids = torch.cat([prompt, image, answer])
    labels = ids.masked_fill(torch.arange(len(ids)) < len(ids) - len(answer), IGNORE)
    return {"input_ids": ids, "labels": labels, "pixel_values": pixels}


FORMULA = "FLOPs = 4 x frozen weights x tokens + 6 x LoRA weights x tokens + 2 x tower weights x patches"


def step_flops(vlm: VisionLanguageModel, shapes: Shapes) -> float:
    """Return the FLOPs of a plain LoRA step for each sample, by `FORMULA`.

    A weight of a linear layer takes 2 FLOPs a token in the forward pass, 2 in the backward pass for the gradient of its
    input, and 2 more for its own gradient if it is trained (Kaplan et al. 2020, arXiv 2001.08361, section 2.1: 6 for
    full training). Frozen weights under an adapter so take 4; the frozen tower, which has no backward pass, 2. The
    products inside attention are left out (3 % at 7 B and 640 tokens). So is what checkpointing computes again, and
    what a defence adds: these are prices, not progress.

    Args:
        vlm: a LLaVA with an adapter.
        shapes: its sizes.
    """
    used = {
        "tower": (2, shapes.image_tokens + 1),  # a token for the class
        "connector": (4, shapes.image_tokens),
        "language_model": (4, shapes.tokens),
    }
    total = 4.0 * vlm.base.lm_head.weight.numel() * shapes.answer_tokens
    for part, (each, tokens) in used.items():
        for name, module in vlm.family.part(vlm.model, part).named_modules():
            if isinstance(module, nn.Linear | nn.Conv2d):
                total += (6 if "lora_" in name else each) * module.weight.numel() * tokens
    return total
