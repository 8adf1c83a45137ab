"""Conversion between a family's layout of images and plain tiles ``[n, 3, H, W]``, on which views act."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn.functional import interpolate

if TYPE_CHECKING:
    from pcvr.models.families import Family
    from pcvr.models.vlm import VisionLanguageModel
    from pcvr.views import PatchView

Row = dict[str, Tensor]


def own_pixels(family: Family, pixels: Tensor) -> Tensor:
    """Return the image of a sample that the processor prepared alone, in the family's layout."""
    if family.layout == "patches":
        return pixels
    if family.pack == "row":
        return pixels  # [n, 3, H, W]
    return pixels[0, 0] if family.pack == "list" else pixels[0]


def as_taken(family: Family, inputs: Row) -> Row:
    """Return collated samples with ``pixel_values`` as the model takes them; see `Family.pack`."""
    pixels = inputs.get("pixel_values")
    if pixels is None or not family.pack:
        return inputs
    if family.pack == "list":
        return inputs | {"pixel_values": pixels[:, None]}
    return inputs | {"pixel_values": pixels[real_tiles(pixels)] if pixels.dim() == 5 else pixels}


def real_tiles(pixels: Tensor) -> Tensor:
    """Return which tiles ``[..., n, 3, H, W]`` are not padding, bool ``[..., n]``: models take zeros as padding."""
    return (pixels != 0).flatten(-3).any(-1)


def tiles_of(vlm: VisionLanguageModel, row: Row) -> Tensor:
    """Return the image of one encoded sample as tiles: float ``[n, 3, H, W]``, normalised for the tower."""
    pixels = row["pixel_values"]
    if vlm.family.layout in ("picture", "sized"):
        return pixels[None]
    return pixels if vlm.family.layout == "tiles" else _unflatten(pixels, row["image_grid_thw"][0], _sizes(vlm))[None]


def with_tiles(vlm: VisionLanguageModel, row: Row, tiles: Tensor) -> Tensor:
    """Return the ``pixel_values`` of `row` with its tiles replaced by ``[n, 3, H, W]``; padding tiles stay zero."""
    if vlm.family.layout in ("picture", "sized"):
        return tiles[0]
    if vlm.family.layout == "patches":
        return _flatten(tiles[0], _sizes(vlm))
    filler = (row["pixel_values"] == 0).flatten(1).all(1)  # Idefics3 takes a tile of zeros as padding
    return torch.where(filler[:, None, None, None], row["pixel_values"], tiles)


def viewed(
    vlm: VisionLanguageModel,
    rows: Sequence[Row],
    donors: Sequence[Row] | None,
    view: PatchView,
    generator: torch.Generator,
) -> list[Tensor]:
    """Return the ``pixel_values`` of a view of each row; the swap operator takes patches of `donors`, one a row."""
    tiles = [tiles_of(vlm, row) for row in rows]
    given = (
        None if donors is None else [_fitting(tiles_of(vlm, d), mine) for d, mine in zip(donors, tiles, strict=True)]
    )
    if len({each.shape for each in tiles}) == 1:
        seen = view(torch.cat(tiles), generator, None if given is None else torch.cat(given)).split(len(tiles[0]))
    else:
        seen = tuple(view(mine, generator, None if given is None else given[i]) for i, mine in enumerate(tiles))
    return [with_tiles(vlm, row, each) for row, each in zip(rows, seen, strict=True)]


def _fitting(donor: Tensor, mine: Tensor) -> Tensor:
    """Return a donor's tiles in the number and size of `mine`; those that are padding only if there are no others."""
    real = real_tiles(donor)
    donor = donor[real] if real.any() else donor
    taken = donor[torch.arange(len(mine)) % len(donor)]
    return taken if taken.shape == mine.shape else interpolate(taken, mine.shape[-2:], mode="bilinear")


def _sizes(vlm: VisionLanguageModel) -> tuple[int, int, int]:
    """Return the side of a patch in pixels, the patches merged along a side, and the frames of a patch."""
    prepare: Any = vlm.processor.image_processor
    return prepare.patch_size, prepare.merge_size, prepare.temporal_patch_size


def _unflatten(patches: Tensor, grid: Tensor, sizes: tuple[int, int, int]) -> Tensor:
    """Convert Qwen's rows of patches ``[h w, 3 T P P]`` to ``[3, H, W]``; all T frames of an image are equal."""
    side, merge, frames = sizes
    _, high, wide = (int(v) for v in grid)
    split = patches.view(high // merge, wide // merge, merge, merge, 3, frames, side, side)[:, :, :, :, :, 0]
    return split.permute(4, 0, 2, 5, 1, 3, 6).reshape(3, high * side, wide * side)


def _flatten(picture: Tensor, sizes: tuple[int, int, int]) -> Tensor:
    """Convert ``[3, H, W]`` to Qwen's rows of patches ``[h w, 3 T P P]``."""
    side, merge, frames = sizes
    high, wide = (n // side for n in picture.shape[1:])
    split = picture.view(3, high // merge, merge, side, wide // merge, merge, side).permute(1, 4, 2, 5, 0, 3, 6)
    return split[..., None, :, :].expand(*split.shape[:-2], frames, side, side).reshape(high * wide, -1)


def as_patches(vlm: VisionLanguageModel, pictures: Tensor) -> tuple[Tensor, Tensor]:
    """Convert normalised images ``[B, 3, H, W]`` to the input of Qwen's tower: rows of patches, and image grids."""
    sizes = _sizes(vlm)
    grid = torch.tensor([[1, pictures.shape[-2] // sizes[0], pictures.shape[-1] // sizes[0]]], device=pictures.device)
    return torch.cat([_flatten(each, sizes) for each in pictures]), grid.repeat(len(pictures), 1)
