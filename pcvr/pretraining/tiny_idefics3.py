"""``tiny-idefics3``: a true Idefics3, as SmolVLM is one (SigLIP tower, pixel shuffle and a linear layer, Llama)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pcvr.pretraining.parts import IMAGE_PX, LEVELS, WIDTH, language_config, made_ready, tower_sizes
from pcvr.pretraining.vocabulary import CHAT_TEMPLATE, build_tokenizer

if TYPE_CHECKING:
    from transformers import Idefics3ForConditionalGeneration, Idefics3Processor

PATCH_PX = 12
"""Side of one tower patch, in pixels: 8 x 8 patches."""
SHUFFLE = 2
"""Patches along a side that the connector merges to one image token: 16 image tokens of 24 px."""


def build_processor(image_px: int = IMAGE_PX) -> Idefics3Processor:
    """Build the processor: Pillow image processor without tiles, word-level tokenizer, one chat template."""
    from transformers import Idefics3Processor
    from transformers.models.idefics3.image_processing_pil_idefics3 import Idefics3ImageProcessorPil

    images = Idefics3ImageProcessorPil(
        size={"longest_edge": image_px},
        max_image_size={"longest_edge": image_px},
        do_image_splitting=False,
        **LEVELS,
    )
    tokenizer = build_tokenizer(("<image>", "<fake_token_around_image>", "<global-img>", "<end_of_utterance>"))
    tokens = (image_px // PATCH_PX // SHUFFLE) ** 2
    return Idefics3Processor(images, tokenizer, image_seq_len=tokens, chat_template=CHAT_TEMPLATE)


def build_model(
    processor: Idefics3Processor, image_px: int = IMAGE_PX, width: int = WIDTH
) -> Idefics3ForConditionalGeneration:
    """Build an ``Idefics3ForConditionalGeneration`` with fresh weights, sized for `processor`; seed torch first."""
    from transformers import Idefics3Config, Idefics3ForConditionalGeneration
    from transformers.models.idefics3.configuration_idefics3 import Idefics3VisionConfig

    tokenizer = processor.tokenizer
    config = Idefics3Config(
        vision_config=Idefics3VisionConfig(**tower_sizes(image_px, PATCH_PX, width, layers=4)),
        text_config=language_config(tokenizer, width),
        image_token_id=processor.image_token_id,
        scale_factor=SHUFFLE,
        pad_token_id=tokenizer.pad_token_id,
    )
    model = Idefics3ForConditionalGeneration(config)
    return made_ready(model, model.model.text_model, tokenizer)
