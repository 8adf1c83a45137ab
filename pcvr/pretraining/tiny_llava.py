"""``tiny-llava``: a true LLaVA (CLIP tower, MLP projector, Llama) small enough for a laptop's CPU."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pcvr.pretraining.parts import IMAGE_PX, LEVELS, WIDTH, language_config, made_ready, tower_sizes
from pcvr.pretraining.vocabulary import CHAT_TEMPLATE, build_tokenizer

if TYPE_CHECKING:
    from transformers import LlavaForConditionalGeneration, LlavaProcessor

PATCH_PX = 16
"""Side of one tower patch, in pixels: 6 x 6 patches, 36 image tokens. Fewer tokens make faster steps."""


def build_processor(image_px: int = IMAGE_PX) -> LlavaProcessor:
    """Build the processor: Pillow image processor, word-level tokenizer, one chat template."""
    from transformers import LlavaProcessor
    from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

    images = CLIPImageProcessorPil(
        size={"shortest_edge": image_px}, crop_size={"height": image_px, "width": image_px}, **LEVELS
    )
    return LlavaProcessor(
        image_processor=images,
        tokenizer=build_tokenizer(),
        patch_size=PATCH_PX,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=CHAT_TEMPLATE,
    )


def build_model(
    processor: LlavaProcessor, image_px: int = IMAGE_PX, width: int = WIDTH
) -> LlavaForConditionalGeneration:
    """Build a ``LlavaForConditionalGeneration`` with fresh weights, sized for `processor`; seed torch first."""
    from transformers import CLIPVisionConfig, LlavaConfig, LlavaForConditionalGeneration

    tokenizer = processor.tokenizer
    config = LlavaConfig(
        vision_config=CLIPVisionConfig(**tower_sizes(image_px, PATCH_PX, width, layers=5), projection_dim=width),
        text_config=language_config(tokenizer, width),
        image_token_index=processor.image_token_id,
        image_seq_length=(image_px // PATCH_PX) ** 2,
        vision_feature_layer=-1,
        pad_token_id=tokenizer.pad_token_id,
    )
    model = LlavaForConditionalGeneration(config)
    return made_ready(model, model.model.language_model, tokenizer)
