"""The number of tokens of the largest image, from the config and the settings of the image processor."""

from __future__ import annotations

from math import isqrt
from typing import Any

_LONG = 1 << 14
_SHAPES = tuple((_LONG // a, _LONG // b) for a in (1, 2, 3, 4, 6, 8) for b in (1, 2, 3, 4, 6, 8))
"""Heights and widths of images larger than any processor keeps, so that its output has the largest size."""
_QWEN_BUDGET = 28 * 28 * 1280
"""Pixels of an image if a Qwen processor states no limit."""


def image_tokens(config: Any, images: Any = None) -> int:
    """Return the number of tokens of the largest image in the language model, separators of tiles included.

    Args:
        config: config of the model.
        images: its image processor; without it, only the tiles that the config states are counted.
    """
    if (queries := getattr(config, "num_query_tokens", None)) is not None:
        return int(queries)
    if (pooled := getattr(config, "mm_tokens_per_image", None)) is not None:  # Gemma 3, each crop like the image
        return int(pooled) * (1 + _crops(images))
    vision = config.vision_config
    if hasattr(config, "downsample_ratio"):  # InternVL, with an overview of its tiles
        most = int(getattr(images, "max_patches", 0)) + 1
        return most * (side_of(vision.image_size) // side_of(vision.patch_size) // merge_of(config)) ** 2
    if getattr(vision, "model_type", None) == "pixtral":  # a break after each row of tokens
        longest = side_of((images.size["longest_edge"] if images else None) or vision.image_size)
        side = longest // (side_of(vision.patch_size) * merge_of(config))
        return side * (side + 1)
    if not hasattr(vision, "image_size"):  # Qwen: images of any size, up to a number of pixels
        return _of_pixels(vision, images)
    side = side_of(vision.image_size) // side_of(vision.patch_size)
    if (scale := getattr(config, "scale_factor", None)) is not None:  # Idefics3
        return _of_split(side**2 // int(scale) ** 2, images)
    tokens = side**2
    if class_token(config) and getattr(config, "vision_feature_select_strategy", "default") == "full":
        tokens += 1
    grids = getattr(images, "image_grid_pinpoints", None) or getattr(config, "image_grid_pinpoints", None)
    if grids is None:
        return tokens
    tiles = [[int(length) // side_of(vision.image_size) for length in grid] for grid in grids]
    # Each row of the tiles' tokens ends with a separator.
    most = max(high * side * (wide * side + 1) for high, wide in tiles)
    limit = str(getattr(config, "vision_aspect_ratio", "")).removeprefix("anyres_max_")
    if limit.isdigit():  # LLaVA-OneVision
        # More tokens than 1.1 ** 2 times the limit are scaled down to it, in any shape.
        most = min(most, int(1.21 * int(limit) * tokens) + max(tiles, key=max)[0] * side)
    return tokens + most


def merge_of(config: Any) -> int:
    """Return the patches along a side that a connector joins to one image token; 1 if it takes them one by one."""
    if (scale := getattr(config, "scale_factor", None)) is not None:  # Idefics3
        return int(scale)
    if (ratio := getattr(config, "downsample_ratio", None)) is not None:  # InternVL
        return round(1 / ratio)
    if (pooled := getattr(config, "mm_tokens_per_image", None)) is not None:  # Gemma 3
        return side_of(config.vision_config.image_size) // side_of(config.vision_config.patch_size) // isqrt(pooled)
    return int(getattr(config, "spatial_merge_size", 1))


def side_of(size: Any) -> int:
    """Return the side of a square in pixels, which a config gives as one number or as two equal ones."""
    return int(size) if isinstance(size, int | float) else int(size[0])


def class_token(config: Any) -> bool:
    """Return whether the tower has a class token before the patches."""
    return getattr(config.vision_config, "model_type", None) == "clip_vision_model"


def _crops(images: Any) -> int:
    return int(images.pan_and_scan_max_num_crops) if getattr(images, "do_pan_and_scan", False) else 0


def _of_split(each: int, images: Any) -> int:
    """Count Idefics3's tokens: two separators before each tile, a line break after each row, the overview last."""
    if not getattr(images, "do_image_splitting", False):
        return each
    splits = (images.get_number_of_image_patches(*shape) for shape in _SHAPES)
    return each + max((rows > 0) * 4 + rows * (columns * (each + 2) + 1) for _, rows, columns in splits)


def _of_pixels(vision: Any, images: Any) -> int:
    merge = int(getattr(images, "merge_size", None) or vision.spatial_merge_size)
    if images is None:
        return _QWEN_BUDGET // (side_of(vision.patch_size) * merge) ** 2
    return max(int(images.get_number_of_image_patches(*shape)) for shape in _SHAPES) // merge**2
