"""Each supported architecture at a tiny size with random weights, saved as a checkpoint of its format."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar
from unittest.mock import patch

import numpy as np
import torch

from pcvr import Sample
from pcvr.models.families import FAMILIES
from pcvr.pretraining import tiny_blip2, tiny_idefics3, tiny_llava
from pcvr.pretraining.parts import LEVELS, language_config
from pcvr.pretraining.vocabulary import CHAT_TEMPLATE, build_tokenizer

SIDE_PX, WIDTH = 48, 32
Pair = tuple[Any, Any]
"""Model and processor."""


class Photos:
    """Noise pictures of three shapes, so that tiles and padding differ from sample to sample."""

    name, task = "photos", "caption"
    sides = ((48, 48), (40, 90), (100, 60))

    def __init__(self, count: int = 12) -> None:
        self.count = count

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int, /) -> Sample:
        if not 0 <= index < len(self):
            raise IndexError(index)
        image = np.random.default_rng(index).integers(0, 256, (*self.sides[index % 3], 3), dtype=np.uint8)
        prompt = ("describe the image.", "what is there to see in the picture?")[index % 2]
        answer = ("a red ball", "two cats and a dog .", "yes")[index % 3]
        return Sample(str(index), image, prompt, answer, (answer,))

    def fingerprint(self) -> str:
        return "photos"


def ends_answers(model: Any, tokenizer: Any) -> Any:
    model.generation_config.pad_token_id = tokenizer.pad_token_id
    model.generation_config.eos_token_id = tokenizer.eos_token_id
    return model


def llava() -> Pair:
    processor = tiny_llava.build_processor(SIDE_PX)
    return tiny_llava.build_model(processor, SIDE_PX, WIDTH), processor


def blip2() -> Pair:
    processor = tiny_blip2.build_processor(SIDE_PX)
    return tiny_blip2.build_model(processor, SIDE_PX, WIDTH), processor


def idefics3() -> Pair:
    processor = tiny_idefics3.build_processor(SIDE_PX)
    return tiny_idefics3.build_model(processor, SIDE_PX, WIDTH), processor


def idefics3_tiles() -> Pair:
    """As the released ones: larger pictures are cut into tiles, with an overview behind them."""
    model, processor = idefics3()
    processor.image_processor.do_image_splitting = True
    processor.image_processor.size = {"longest_edge": 2 * SIDE_PX}
    return model, processor


def llava_next() -> Pair:
    from transformers import CLIPVisionConfig, LlavaNextConfig, LlavaNextForConditionalGeneration, LlavaNextProcessor
    from transformers.models.llava_next.image_processing_pil_llava_next import LlavaNextImageProcessorPil

    grid = [[SIDE_PX, 2 * SIDE_PX], [2 * SIDE_PX, SIDE_PX], [2 * SIDE_PX, 2 * SIDE_PX]]
    images = LlavaNextImageProcessorPil(
        size={"shortest_edge": SIDE_PX},
        crop_size={"height": SIDE_PX, "width": SIDE_PX},
        image_grid_pinpoints=grid,
        **LEVELS,
    )
    tokenizer = build_tokenizer()
    processor = LlavaNextProcessor(
        images,
        tokenizer,
        patch_size=16,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=CHAT_TEMPLATE,
    )
    config = LlavaNextConfig(
        vision_config=CLIPVisionConfig(**_vision(), projection_dim=WIDTH),
        text_config=language_config(tokenizer, WIDTH),
        image_token_index=processor.image_token_id,
        image_grid_pinpoints=grid,
        vision_feature_layer=-2,
    )
    return ends_answers(LlavaNextForConditionalGeneration(config), tokenizer), processor


def instructblip() -> Pair:
    from transformers import (
        InstructBlipConfig,
        InstructBlipForConditionalGeneration,
        InstructBlipProcessor,
        InstructBlipQFormerConfig,
        InstructBlipVisionConfig,
    )
    from transformers.models.blip.image_processing_pil_blip import BlipImageProcessorPil

    images = BlipImageProcessorPil(size={"height": SIDE_PX, "width": SIDE_PX}, **LEVELS)
    tokenizer, reader = build_tokenizer(()), build_tokenizer(())
    reader.padding_side = "right"
    processor = InstructBlipProcessor(images, tokenizer, reader, num_query_tokens=4)
    config = InstructBlipConfig(
        vision_config=InstructBlipVisionConfig(**_vision(), initializer_range=0.02),
        qformer_config=InstructBlipQFormerConfig(
            vocab_size=len(reader),
            hidden_size=WIDTH,
            intermediate_size=2 * WIDTH,
            num_hidden_layers=2,
            num_attention_heads=4,
            cross_attention_frequency=1,
            max_position_embeddings=64,
            pad_token_id=reader.pad_token_id,
            hidden_dropout_prob=0.0,
            attention_probs_dropout_prob=0.0,
        ),
        text_config=language_config(tokenizer, WIDTH),
        num_query_tokens=4,
        image_token_index=tokenizer.convert_tokens_to_ids("<image>"),
    )
    model = InstructBlipForConditionalGeneration(config)
    with torch.no_grad():
        model.query_tokens.normal_()
    return ends_answers(model, tokenizer), processor


def smolvlm() -> Pair:
    from transformers import SmolVLMConfig, SmolVLMForConditionalGeneration, SmolVLMProcessor
    from transformers.models.smolvlm.image_processing_pil_smolvlm import SmolVLMImageProcessorPil
    from transformers.models.smolvlm.video_processing_smolvlm import SmolVLMVideoProcessor

    images = SmolVLMImageProcessorPil(
        size={"longest_edge": SIDE_PX}, max_image_size={"longest_edge": SIDE_PX}, do_image_splitting=False, **LEVELS
    )
    tokenizer = build_tokenizer(
        ("<image>", "<fake_token_around_image>", "<global-img>", "<end_of_utterance>", "<video>")
    )
    processor = SmolVLMProcessor(
        images, tokenizer, SmolVLMVideoProcessor(), image_seq_len=4, chat_template=CHAT_TEMPLATE
    )
    config = SmolVLMConfig(
        vision_config={**_vision(), "patch_size": 12},
        text_config=language_config(tokenizer, WIDTH).to_dict(),
        image_token_id=processor.image_token_id,
        scale_factor=2,
        pad_token_id=tokenizer.pad_token_id,
    )
    return ends_answers(SmolVLMForConditionalGeneration(config), tokenizer), processor


def qwen2_vl(videos: Any = None) -> Pair:
    from transformers import Qwen2VLConfig, Qwen2VLForConditionalGeneration

    vision = {"depth": 2, "embed_dim": WIDTH, "hidden_size": WIDTH, "num_heads": 4, "mlp_ratio": 2, "patch_size": 8}
    return _qwen(Qwen2VLConfig, Qwen2VLForConditionalGeneration, "Qwen2VLProcessor", vision, videos)


def qwen2_5_vl(videos: Any = None) -> Pair:
    from transformers import Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration

    vision = {
        "depth": 2,
        "hidden_size": WIDTH,
        "out_hidden_size": WIDTH,
        "intermediate_size": 2 * WIDTH,
        "num_heads": 4,
        "patch_size": 8,
        "window_size": 32,
        "fullatt_block_indexes": [1],
    }
    return _qwen(Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration, "Qwen2_5_VLProcessor", vision, videos)


def _qwen(config_class: Any, model_class: Any, processor_name: str, vision: dict[str, Any], videos: Any) -> Pair:
    import transformers
    from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

    images = Qwen2VLImageProcessorPil(
        size={"shortest_edge": 16 * 16, "longest_edge": 64 * 64},
        patch_size=8,
        merge_size=2,
        temporal_patch_size=2,
        **LEVELS,
    )
    tokenizer = build_tokenizer(("<image>", "<|vision_start|>", "<|vision_end|>", "<|video_pad|>"))
    tokenizer.image_token, tokenizer.video_token = "<image>", "<|video_pad|>"
    if videos is None:
        from transformers import Qwen2VLVideoProcessor

        videos = Qwen2VLVideoProcessor()
    template = CHAT_TEMPLATE.replace("<image>", "<|vision_start|><image><|vision_end|>")
    processor = getattr(transformers, processor_name)(images, tokenizer, videos, chat_template=template)
    ids = {
        f"{name}_token_id": tokenizer.convert_tokens_to_ids(token)
        for name, token in (
            ("image", "<image>"),
            ("video", "<|video_pad|>"),
            ("vision_start", "<|vision_start|>"),
            ("vision_end", "<|vision_end|>"),
        )
    }
    text = language_config(tokenizer, WIDTH).to_dict()
    text.pop("model_type")
    rope = {"rope_type": "default", "mrope_section": [1, 1, 2], "rope_theta": 1e4}
    text |= {"rope_parameters": rope, "num_hidden_layers": 2}
    model = model_class(config_class(vision_config=vision, text_config=text, **ids))
    return ends_answers(model, tokenizer), processor


def _vision() -> dict[str, Any]:
    return {
        "hidden_size": WIDTH,
        "intermediate_size": 2 * WIDTH,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "image_size": SIDE_PX,
        "patch_size": 16,
    }


BUILDERS: dict[str, Callable[..., Pair]] = {
    "llava": llava,
    "llava_next": llava_next,
    "blip-2": blip2,
    "instructblip": instructblip,
    "idefics3": idefics3,
    "idefics3 in tiles": idefics3_tiles,
    "smolvlm": smolvlm,
    "qwen2_vl": qwen2_vl,
    "qwen2_5_vl": qwen2_5_vl,
}


def missing_for(name: str) -> str:
    """Which packages are not here without which transformers makes no processor of that family."""
    return ", ".join(FAMILIES[name.split()[0]].missing)


@contextmanager
def no_videos() -> Iterator[Any]:
    """Inside the block a processor takes what is yielded where torchvision would make a part for videos."""
    from transformers.processing_utils import ProcessorMixin

    class NoVideos:
        merge_size = 2
        model_input_names: ClassVar[list[str]] = []

    with patch.object(ProcessorMixin, "check_argument_for_proper_class", lambda _self, _name, given: type(given)):
        yield NoVideos()


def loud(model: Any) -> Any:
    """`model` with larger matrices: at their fresh size they pass on so little that every input has the same answer."""
    with torch.no_grad():
        for name, weights in model.named_parameters():
            if weights.dim() > 1 and "embed_tokens" not in name and "position" not in name:
                weights.mul_(8)
    return model


def write(name: str, folder: Path, seed: int = 0) -> Path:
    """Save the architecture `name` with weights drawn from `seed` to `folder`, as a hub checkpoint lies there."""
    torch.manual_seed(seed)
    model, processor = BUILDERS[name]()
    loud(model).save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder
