"""``tiny-llava``: a true LLaVA (CLIP tower, MLP projector, Llama) small enough for a laptop's CPU."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pcvr.models.vocabulary import CHAT_TEMPLATE, build_tokenizer

if TYPE_CHECKING:
    from transformers import LlavaForConditionalGeneration, LlavaProcessor

IMAGE_PX = 96
"""Side of the square picture the tower reads, in pixels."""
PATCH_PX = 16
"""Side of one tower patch, in pixels: 6 x 6 patches, 36 image tokens. Fewer tokens, faster steps."""
WIDTH = 128


def build_processor() -> LlavaProcessor:
    """The processor: Pillow image processor, word-level tokenizer, one chat template."""
    from transformers import LlavaProcessor
    from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

    images = CLIPImageProcessorPil(
        size={"shortest_edge": IMAGE_PX},
        crop_size={"height": IMAGE_PX, "width": IMAGE_PX},
        image_mean=[0.5, 0.5, 0.5],
        image_std=[0.25, 0.25, 0.25],
    )
    return LlavaProcessor(
        image_processor=images,
        tokenizer=build_tokenizer(),
        patch_size=PATCH_PX,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=CHAT_TEMPLATE,
    )


def build_model(processor: LlavaProcessor) -> LlavaForConditionalGeneration:
    """A ``LlavaForConditionalGeneration`` with fresh weights, sized for `processor`; seed torch before calling."""
    from transformers import CLIPVisionConfig, LlamaConfig, LlavaConfig, LlavaForConditionalGeneration

    tokenizer = processor.tokenizer
    special = {"pad_token_id": tokenizer.pad_token_id, "eos_token_id": tokenizer.eos_token_id, "bos_token_id": None}
    config = LlavaConfig(
        vision_config=CLIPVisionConfig(
            hidden_size=WIDTH,
            intermediate_size=4 * WIDTH,
            num_hidden_layers=5,
            num_attention_heads=4,
            image_size=IMAGE_PX,
            patch_size=PATCH_PX,
            projection_dim=WIDTH,
        ),
        text_config=LlamaConfig(
            vocab_size=len(tokenizer),
            hidden_size=WIDTH,
            intermediate_size=344,
            num_hidden_layers=4,
            num_attention_heads=4,
            num_key_value_heads=4,
            max_position_embeddings=512,
            **special,
        ),
        image_token_index=processor.image_token_id,
        image_seq_length=(IMAGE_PX // PATCH_PX) ** 2,
        vision_feature_layer=-1,
        pad_token_id=tokenizer.pad_token_id,
    )
    model = LlavaForConditionalGeneration(config)
    model.generation_config.pad_token_id = tokenizer.pad_token_id
    model.generation_config.eos_token_id = tokenizer.eos_token_id
    model.generation_config.bos_token_id = None
    return model
