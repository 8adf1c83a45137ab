"""Families of today at a tiny size with random weights, with byte-level tokenizers and templates as released."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from pcvr.pretraining.parts import LEVELS
from tests.families import Pair, ends_answers, loud
from tests.families_parts import CHATML, SIDE_PX, WIDTH, square, text, tokenizer, video_part, vision


def llava_onevision(videos: Any) -> Pair:
    from transformers import LlavaOnevisionConfig, LlavaOnevisionForConditionalGeneration, LlavaOnevisionProcessor
    from transformers.models.llava_onevision.image_processing_pil_llava_onevision import LlavaOnevisionImageProcessorPil

    grid = [[SIDE_PX, SIDE_PX], [SIDE_PX, 2 * SIDE_PX], [2 * SIDE_PX, SIDE_PX], [2 * SIDE_PX, 2 * SIDE_PX]]
    words = tokenizer(None, "<|im_end|>", image="<image>", video="<video>", start="<|im_start|>")
    images = LlavaOnevisionImageProcessorPil(size=square(), image_grid_pinpoints=grid, **LEVELS)
    processor = LlavaOnevisionProcessor(
        images,
        words,
        videos or video_part("LlavaOnevisionVideoProcessor"),
        num_image_tokens=4,
        vision_feature_select_strategy="full",
        chat_template=CHATML.replace("IMAGE", "<image>\n"),
    )
    config = LlavaOnevisionConfig(
        vision_config={"model_type": "siglip_vision_model", **vision(vision_use_head=False)},
        text_config={"model_type": "qwen2", **text(words)},
        image_token_index=words.convert_tokens_to_ids("<image>"),
        video_token_index=words.convert_tokens_to_ids("<video>"),
        image_grid_pinpoints=grid,
    )
    return ends_answers(LlavaOnevisionForConditionalGeneration(config), words), processor


def qwen3_vl(videos: Any) -> Pair:
    from transformers import Qwen3VLConfig, Qwen3VLForConditionalGeneration, Qwen3VLProcessor
    from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

    marks = {"vision_start": "<|vision_start|>", "vision_end": "<|vision_end|>", "start": "<|im_start|>"}
    words = tokenizer(None, "<|im_end|>", image="<|image_pad|>", video="<|video_pad|>", **marks)
    images = Qwen2VLImageProcessorPil(
        size={"shortest_edge": 32 * 32, "longest_edge": 64 * 64}, patch_size=8, merge_size=2, **LEVELS
    )
    template = CHATML.replace("IMAGE", "<|vision_start|><|image_pad|><|vision_end|>")
    processor = Qwen3VLProcessor(images, words, videos or video_part("Qwen3VLVideoProcessor"), chat_template=template)
    rope = {"rope_type": "default", "mrope_section": [1, 1, 2], "mrope_interleaved": True, "rope_theta": 1e4}
    config = Qwen3VLConfig(
        vision_config={
            "depth": 2,
            "hidden_size": WIDTH,
            "out_hidden_size": WIDTH,
            "intermediate_size": 2 * WIDTH,
            "num_heads": 2,
            "patch_size": 8,
            "num_position_embeddings": 16,
            "deepstack_visual_indexes": [0],
        },
        text_config=text(words, rope_parameters=rope),
        **{
            f"{name}_token_id": words.convert_tokens_to_ids(token)
            for name, token in (("image", "<|image_pad|>"), ("video", "<|video_pad|>"), *list(marks.items())[:2])
        },
    )
    return ends_answers(Qwen3VLForConditionalGeneration(config), words), processor


def gemma3(_videos: Any) -> Pair:
    from transformers import Gemma3Config, Gemma3ForConditionalGeneration, Gemma3Processor
    from transformers.models.gemma3.image_processing_pil_gemma3 import Gemma3ImageProcessorPil

    words = tokenizer(
        "<bos>",
        "<eos>",
        image="<image_soft_token>",
        boi="<start_of_image>",
        eoi="<end_of_image>",
        start="<start_of_turn>",
        end_of_turn="<end_of_turn>",
    )
    template = (
        "{{ bos_token }}{% for m in messages %}<start_of_turn>{{ 'model' if m['role'] == 'assistant' else 'user' }}\n"
        "{% for c in m['content'] %}{% if c['type'] == 'image' %}<start_of_image>{% else %}{{ c['text'] | trim }}"
        "{% endif %}{% endfor %}<end_of_turn>\n{% endfor %}"
        "{% if add_generation_prompt %}<start_of_turn>model\n{% endif %}"
    )
    images = Gemma3ImageProcessorPil(size=square(), **LEVELS)
    processor = Gemma3Processor(images, words, chat_template=template, image_seq_length=4)
    sizes = text(words, sliding_window=16, layer_types=["sliding_attention", "full_attention"], query_pre_attn_scalar=8)
    config = Gemma3Config(
        vision_config=vision(vision_use_head=False, patch_size=7),
        text_config=sizes,
        mm_tokens_per_image=4,
        boi_token_index=words.boi_token_id,
        eoi_token_index=words.eoi_token_id,
        image_token_index=words.image_token_id,
    )
    model = Gemma3ForConditionalGeneration(config)
    with torch.no_grad():
        model.model.multi_modal_projector.mm_input_projection_weight.normal_()  # fresh ones are zeros
    return ends_answers(model, words), processor


def gemma3_crops(_videos: Any) -> Pair:
    """With pan and scan: crops of long images follow the whole one."""
    model, processor = gemma3(None)
    options = {"do_pan_and_scan": True, "pan_and_scan_min_crop_size": 8, "pan_and_scan_min_ratio_to_activate": 1.2}
    for name, value in {**options, "pan_and_scan_max_num_crops": 2}.items():
        setattr(processor.image_processor, name, value)
    return model, processor


def paligemma(_videos: Any) -> Pair:
    from transformers import PaliGemmaConfig, PaliGemmaForConditionalGeneration, PaliGemmaProcessor
    from transformers.models.siglip.image_processing_pil_siglip import SiglipImageProcessorPil

    words = tokenizer(None, "<eos>", image="<image>", start="<bos>")
    words.bos_token = "<bos>"  # the processor writes it, after the image
    images = SiglipImageProcessorPil(size=square(), **LEVELS)
    images.image_seq_length = 4
    processor = PaliGemmaProcessor(images, words)
    sizes = text(words, sliding_window=16, layer_types=["sliding_attention", "full_attention"], query_pre_attn_scalar=8)
    config = PaliGemmaConfig(
        vision_config={"model_type": "siglip_vision_model", **vision(vision_use_head=False, projection_dim=WIDTH)},
        text_config={"model_type": "gemma2", **sizes},
        image_token_index=words.image_token_id,
        projection_dim=WIDTH,
        hidden_size=WIDTH,
    )
    return ends_answers(PaliGemmaForConditionalGeneration(config), words), processor


def internvl(videos: Any) -> Pair:
    from transformers import InternVLConfig, InternVLForConditionalGeneration, InternVLProcessor
    from transformers.models.got_ocr2.image_processing_pil_got_ocr2 import GotOcr2ImageProcessorPil

    words = tokenizer(
        None,
        "<|im_end|>",
        start_image="<img>",
        end_image="</img>",
        context_image="<IMG_CONTEXT>",
        video="<video>",
        start="<|im_start|>",
    )
    images = GotOcr2ImageProcessorPil(size=square(), crop_to_patches=True, min_patches=1, max_patches=4, **LEVELS)
    template = CHATML.replace("IMAGE", "<IMG_CONTEXT>\n")
    videos = videos or video_part("InternVLVideoProcessor")
    processor = InternVLProcessor(images, words, videos, image_seq_length=1, chat_template=template)
    config = InternVLConfig(
        vision_config=vision(image_size=[SIDE_PX] * 2, patch_size=[14, 14]),
        text_config={"model_type": "qwen2", **text(words)},
        image_token_id=processor.image_token_id,
        image_seq_length=1,
    )
    return ends_answers(InternVLForConditionalGeneration(config), words), processor


def mistral3(_videos: Any) -> Pair:
    from transformers import Mistral3Config, Mistral3ForConditionalGeneration

    return _pixtral(Mistral3Config, Mistral3ForConditionalGeneration, 2, spatial_merge_size=2)


def pixtral(_videos: Any) -> Pair:
    from transformers import LlavaConfig, LlavaForConditionalGeneration

    return _pixtral(LlavaConfig, LlavaForConditionalGeneration, 1, vision_feature_select_strategy="full")


def _pixtral(config_class: Any, model_class: Any, merge: int, **more: Any) -> Pair:
    from transformers.models.pixtral.image_processing_pil_pixtral import PixtralImageProcessorPil
    from transformers.models.pixtral.processing_pixtral import PixtralProcessor

    marks = {"image_break": "[IMG_BREAK]", "image_end": "[IMG_END]", "asks": "[INST]", "asked": "[/INST]"}
    words = tokenizer("<s>", "</s>", image="[IMG]", **marks)
    images = PixtralImageProcessorPil(size={"longest_edge": 56}, patch_size={"height": 7, "width": 7}, **LEVELS)
    template = (
        "{{ bos_token }}{% for m in messages %}{% if m['role'] == 'user' %}[INST]"
        "{% for c in m['content'] %}{% if c['type'] == 'image' %}[IMG]{% else %}{{ c['text'] }}{% endif %}{% endfor %}"
        "[/INST]{% else %}{{ m['content'][0]['text'] + eos_token }}{% endif %}{% endfor %}"
    )
    processor = PixtralProcessor(images, words, patch_size=7, spatial_merge_size=merge, chat_template=template)
    config = config_class(
        vision_config={"model_type": "pixtral", **vision(image_size=56, patch_size=7, head_dim=8)},
        text_config={"model_type": "mistral", **text(words)},
        image_token_index=words.convert_tokens_to_ids("[IMG]"),
        vision_feature_layer=-1,
        **more,
    )
    return ends_answers(model_class(config), words), processor


def mllama(_videos: Any) -> Pair:
    from transformers import MllamaConfig, MllamaForConditionalGeneration, MllamaProcessor
    from transformers.models.mllama.image_processing_pil_mllama import MllamaImageProcessorPil

    marks = {"head": "<|start_header_id|>", "head_end": "<|end_header_id|>", "end_of_turn": "<|eot_id|>"}
    words = tokenizer("<|begin_of_text|>", "<|end_of_text|>", **marks, image="<|image|>")
    template = (
        "{{ bos_token }}{% for m in messages %}<|start_header_id|>{{ m['role'] }}<|end_header_id|>\n\n"
        "{% for c in m['content'] %}{% if c['type'] == 'image' %}<|image|>{% else %}{{ c['text'] }}{% endif %}"
        "{% endfor %}<|eot_id|>{% endfor %}"
        "{% if add_generation_prompt %}<|start_header_id|>assistant<|end_header_id|>\n\n{% endif %}"
    )
    processor = MllamaProcessor(MllamaImageProcessorPil(size=square(), max_image_tiles=4, **LEVELS), words, template)
    tower = vision(attention_heads=2, vision_output_dim=2 * WIDTH, intermediate_layers_indices=[1], num_global_layers=1)
    del tower["num_attention_heads"]
    rope = {"rope_type": "default", "rope_theta": 1e4}
    sizes = text(words, num_hidden_layers=3, cross_attention_layers=[1], rope_parameters=rope)
    config = MllamaConfig(vision_config=tower, text_config=sizes, image_token_index=words.image_token_id)
    model = MllamaForConditionalGeneration(config)
    with torch.no_grad():
        for layer in model.model.language_model.layers:
            for gate in ("cross_attn_attn_gate", "cross_attn_mlp_gate"):
                if hasattr(layer, gate):
                    getattr(layer, gate).fill_(1)  # closed in fresh models
    return ends_answers(model, words), processor


def idefics(_videos: Any) -> Pair:
    from transformers import IdeficsConfig, IdeficsForVisionText2Text, IdeficsProcessor
    from transformers.models.idefics.image_processing_pil_idefics import IdeficsImageProcessorPil

    around = "<fake_token_around_image>"
    words = tokenizer("<s>", "</s>", around=around, image="<image>", end_of_turn="<end_of_utterance>")
    processor = IdeficsProcessor(IdeficsImageProcessorPil(image_size=SIDE_PX, **LEVELS), words)
    sizes = text(words, vocab_size=len(words) - 2)
    tower = {"embed_dim": WIDTH, "intermediate_size": 2 * WIDTH, "image_size": SIDE_PX, "patch_size": 14}
    resampler = {"resampler_n_latents": 4, "resampler_depth": 1, "resampler_n_heads": 2, "resampler_head_dim": 8}
    config = IdeficsConfig(
        **{k: v for k, v in sizes.items() if k not in ("num_key_value_heads", "head_dim")},
        additional_vocab_size=2,  # the last words are kept apart, as in the released ones
        vision_config={**tower, "num_hidden_layers": 2, "num_attention_heads": 2},
        perceiver_config=resampler,
        use_resampler=True,
        alpha_initializer="ones",
        alpha_type="vector",
        qk_layer_norms=True,
    )
    model = IdeficsForVisionText2Text(config)
    with torch.no_grad():  # fresh ones hardly tell words and pictures apart
        model.model.embed_tokens.weight.mul_(50)
        for name, weights in model.model.named_parameters():
            if "cross_attn." in name or "perceiver" in name:
                weights.mul_(4)
    return ends_answers(model, words), processor


BUILDERS: dict[str, Callable[[Any], Pair]] = {
    "llava_onevision": llava_onevision,
    "qwen3_vl": qwen3_vl,
    "gemma3": gemma3,
    "gemma3 with crops": gemma3_crops,
    "paligemma": paligemma,
    "internvl": internvl,
    "mistral3": mistral3,
    "pixtral": pixtral,
    "mllama": mllama,
    "idefics": idefics,
}
"""Each takes the part for videos, which may be None."""


def write(name: str, folder: Path, videos: Any, seed: int = 0) -> Path:
    """Save the architecture `name` with weights drawn from `seed` to `folder`, as a hub checkpoint lies there."""
    torch.manual_seed(seed)
    model, processor = BUILDERS[name](videos)
    loud(model).save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder
