"""How many tokens the largest picture takes, from the config and the settings of the picture processor."""

from __future__ import annotations

from typing import Any

_LONG = 1 << 14
_SHAPES = tuple((_LONG // a, _LONG // b) for a in (1, 2, 3, 4, 6, 8) for b in (1, 2, 3, 4, 6, 8))
"""Heights and widths of pictures larger than any processor keeps: what it makes of them are its largest ones."""
_QWEN_BUDGET = 28 * 28 * 1280
"""Pixels of a picture where a Qwen processor states no limit."""


def image_tokens(config: Any, images: Any = None) -> int:
    """Tokens that the largest picture takes in the language model; where it is cut into tiles, with the marks of tiles.

    Args:
        config: of the model.
        images: its picture processor; without it no more tiles are known than the config states.
    """
    if (queries := getattr(config, "num_query_tokens", None)) is not None:
        return int(queries)
    vision = config.vision_config
    if not hasattr(vision, "image_size"):  # Qwen: pictures of any size, up to a number of pixels
        return _of_pixels(vision, images)
    side = int(vision.image_size) // int(vision.patch_size)
    if (scale := getattr(config, "scale_factor", None)) is not None:  # Idefics3
        return _of_split(side**2 // int(scale) ** 2, images)
    tokens = side**2
    if class_token(config) and getattr(config, "vision_feature_select_strategy", "default") == "full":
        tokens += 1
    grids = getattr(images, "image_grid_pinpoints", None) or getattr(config, "image_grid_pinpoints", None)
    if grids is None:
        return tokens
    tiles = [[int(length) // int(vision.image_size) for length in grid] for grid in grids]
    # Behind each row of the tiles' tokens stands one that marks its end.
    return tokens + max(high * side * (wide * side + 1) for high, wide in tiles)


def class_token(config: Any) -> bool:
    """Whether the tower puts a token that stands for no patch in front of the others."""
    return getattr(config.vision_config, "model_type", None) == "clip_vision_model"


def _of_split(each: int, images: Any) -> int:
    """Idefics3: a mark before each tile and one of its place, a line break behind each row, the overview last."""
    if not getattr(images, "do_image_splitting", False):
        return each
    splits = (images.get_number_of_image_patches(*shape) for shape in _SHAPES)
    return each + max((rows > 0) * 4 + rows * (columns * (each + 2) + 1) for _, rows, columns in splits)


def _of_pixels(vision: Any, images: Any) -> int:
    merge = int(getattr(images, "merge_size", None) or vision.spatial_merge_size)
    if images is None:
        return _QWEN_BUDGET // (int(vision.patch_size) * merge) ** 2
    return max(int(images.get_number_of_image_patches(*shape)) for shape in _SHAPES) // merge**2
