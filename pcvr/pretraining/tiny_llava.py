"""``tiny-llava``: a true LLaVA (CLIP tower, MLP projector, Llama) small enough for a laptop's CPU."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pcvr.pretraining.parts import IMAGE_PX, LEVELS, WIDTH, language_config, made_ready
from pcvr.pretraining.vocabulary import CHAT_TEMPLATE, build_tokenizer

if TYPE_CHECKING:
    from transformers import LlavaForConditionalGeneration, LlavaProcessor

PATCH_PX = 16
"""Side of one tower patch, in pixels: 6 x 6 patches, 36 image tokens. Fewer tokens, faster steps."""


def build_processor(image_px: int = IMAGE_PX) -> LlavaProcessor:
    """The processor: Pillow image processor, word-level tokenizer, one chat template."""
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
    """A ``LlavaForConditionalGeneration`` with fresh weights, sized for `processor`; seed torch before calling."""
    from transformers import CLIPVisionConfig, LlavaConfig, LlavaForConditionalGeneration

    tokenizer = processor.tokenizer
    config = LlavaConfig(
        vision_config=CLIPVisionConfig(
            hidden_size=width,
            intermediate_size=4 * width,
            num_hidden_layers=5,
            num_attention_heads=4,
            image_size=image_px,
            patch_size=PATCH_PX,
            projection_dim=width,
        ),
        text_config=language_config(tokenizer, width),
        image_token_index=processor.image_token_id,
        image_seq_length=(image_px // PATCH_PX) ** 2,
        vision_feature_layer=-1,
        pad_token_id=tokenizer.pad_token_id,
    )
    model = LlavaForConditionalGeneration(config)
    return made_ready(model, model.model.language_model, tokenizer)
