"""``tiny-blip2``: a true BLIP-2 (ViT tower, Q-Former, language model) small enough for a laptop's CPU."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pcvr.pretraining.parts import IMAGE_PX, LEVELS, WIDTH, language_config, made_ready, tower_sizes
from pcvr.pretraining.vocabulary import build_tokenizer

if TYPE_CHECKING:
    from transformers import Blip2ForConditionalGeneration, Blip2Processor

PATCH_PX = 16
"""Side of one tower patch, in pixels: 6 x 6 patches."""
QUERIES = 16
"""Number of the Q-Former's learned queries, and so of image tokens."""


def build_processor(image_px: int = IMAGE_PX) -> Blip2Processor:
    """Build the processor: Pillow image processor and word-level tokenizer; like BLIP-2's, without a chat template."""
    from transformers import Blip2Processor
    from transformers.models.blip.image_processing_pil_blip import BlipImageProcessorPil

    images = BlipImageProcessorPil(size={"height": image_px, "width": image_px}, **LEVELS)
    return Blip2Processor(images, build_tokenizer(()), num_query_tokens=QUERIES)


def build_model(
    processor: Blip2Processor, image_px: int = IMAGE_PX, width: int = WIDTH
) -> Blip2ForConditionalGeneration:
    """Build a ``Blip2ForConditionalGeneration`` with fresh weights, sized for `processor`; seed torch first.

    transformers initialises all queries with zero, so that they would stay equal; here they have unit variance.
    """
    import torch
    from transformers import Blip2Config, Blip2ForConditionalGeneration, Blip2QFormerConfig, Blip2VisionConfig

    tokenizer = processor.tokenizer
    config = Blip2Config(
        vision_config=Blip2VisionConfig(
            **tower_sizes(image_px, PATCH_PX, width, layers=5),
            initializer_range=0.02,  # the default, 1e-10, is for pretrained towers
        ),
        qformer_config=Blip2QFormerConfig(
            vocab_size=1,
            hidden_size=width,
            intermediate_size=4 * width,
            num_hidden_layers=2,
            num_attention_heads=4,
            cross_attention_frequency=1,
            hidden_dropout_prob=0.0,
            attention_probs_dropout_prob=0.0,
        ),
        text_config=language_config(tokenizer, width),
        num_query_tokens=QUERIES,
        image_token_index=tokenizer.convert_tokens_to_ids("<image>"),
    )
    model = Blip2ForConditionalGeneration(config)
    with torch.no_grad():
        model.query_tokens.normal_()
    return made_ready(model, model.language_model.model, tokenizer)
