"""Untrusted processors: completed from the model's config, and tested before use."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from pcvr.errors import PcvrError, reason, shown
from pcvr.models.conversation import asked, end_of_turn
from pcvr.models.picture_tokens import class_token

if TYPE_CHECKING:
    from pcvr.models.vlm import VisionLanguageModel


def complete(processor: Any, config: Any) -> None:
    """Fill in settings that older releases of transformers left out of processors, from the model's config."""
    vision = config.vision_config
    known = {
        "patch_size": getattr(vision, "patch_size", None),
        "vision_feature_select_strategy": getattr(config, "vision_feature_select_strategy", None),
        "num_query_tokens": getattr(config, "num_query_tokens", None),
        "chat_template": getattr(processor.tokenizer, "chat_template", None),
    }
    for name, value in known.items():
        if getattr(processor, name, value) is None:
            setattr(processor, name, value)
    if class_token(config) and hasattr(processor, "num_additional_image_tokens"):
        processor.num_additional_image_tokens = 1
    tokenizer = processor.tokenizer
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    tokenizer.padding_side = "left"


def try_out(vlm: VisionLanguageModel) -> None:
    """Prepare two small images with a question, to test the processor.

    Raises:
        PcvrError: the processor fails, or its output does not fit the model.
    """
    pictures = [np.full(shape, 127, np.uint8) for shape in ((40, 64, 3), (64, 40, 3))]
    try:
        rows = [vlm.prepare([picture], ["?"]) for picture in pictures]
        end = end_of_turn(vlm)
    except Exception as problem:  # untrusted templates and settings can raise anything
        raise PcvrError(
            f"the processor of model {shown(vlm.name)} cannot prepare an image with a question "
            f"({reason(problem)}): complete its chat template and its processor's settings, or fetch the folder again."
        ) from problem
    if fault := _fault(vlm, rows, end):
        raise PcvrError(f"the processor of model {shown(vlm.name)} does not fit the model: {fault}.")


def _fault(vlm: VisionLanguageModel, rows: list[dict[str, Any]], end: int) -> str:
    """Return what is wrong with the processor's output for two images of different shapes, or ``""``."""
    tokenizer, image = vlm.tokenizer, vlm.image_token_id
    if tokenizer.pad_token_id is None:
        return "its tokenizer has neither a padding token nor an end token; set pad_token or eos_token"
    if end not in {tokenizer.eos_token_id, *tokenizer.all_special_ids, *tokenizer.added_tokens_decoder}:
        return "neither its chat template nor its tokenizer ends an answer; set the tokenizer's eos_token"
    pixels = [row["pixel_values"] for row in rows]
    expected = vlm.family.dimensions
    if any(each.dim() != expected for each in pixels):
        return f"pixel_values have {pixels[0].dim()} dimensions, where the family takes {expected}"
    if vlm.family.layout == "picture" and pixels[0].shape != pixels[1].shape:
        return "it makes images of several sizes, where the family takes one size; set its size and crop_size"
    counts = [int((row["input_ids"] == image).sum()) for row in rows]
    if not all(counts):
        return (
            f"the prompt {asked(vlm, '?')!r} has no token {image}, the image token of the model's "
            "config; give the folder the chat template and the tokenizer that the model came with"
        )
    table, largest = vlm.model.get_input_embeddings(), max(int(row["input_ids"].max()) for row in rows)
    size = table.num_embeddings + getattr(table, "num_additional_embeddings", 0)  # Idefics 1 keeps its marks apart
    if max(largest, end) >= size:
        return f"it makes token {max(largest, end)}, and the model has {size} tokens; fetch the tokenizer it came with"
    return ""
