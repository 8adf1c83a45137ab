"""Some samples of a batch, whatever the family's layout of images: rows of tensors, or packed patches."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from pcvr.errors import PcvrError
from pcvr.models.encode import Batch, joined
from pcvr.models.layout import Row, real_tiles

_GRID, _PIXELS, _POSITIONS, _SIZES = "image_grid_thw", "pixel_values", "position_ids", "image_sizes"


def select_rows(batch: Batch, rows: Tensor) -> Batch:
    """Return some samples of a batch, in the order of `rows` ``[R]``; token rows keep their padding.

    Raises:
        PcvrError: see `check_rows`.
    """
    check_rows(batch)
    part: Batch = {}
    for name, value in batch.items():
        at = rows.to(value.device)
        if name == _PIXELS and _GRID in batch:
            images = patches_of(batch)
            part[name] = torch.cat([images[row] for row in rows.tolist()])
        else:
            part[name] = value[:, at] if _by_column(name, value) else value[at]
    return part


def check_rows(batch: Batch) -> None:
    """Raise unless each tensor of a batch can be divided by samples, with one image a sample.

    Raises:
        PcvrError: a tensor has no row for each sample, such as several images a sample.
    """
    count = len(batch["input_ids"])
    for name, value in batch.items():
        if name == _PIXELS and _GRID in batch:
            patches = int(batch[_GRID].prod(-1).sum())
            if patches != len(value):
                raise PcvrError(
                    f"pixel_values has {len(value)} patches and image_grid_thw says {patches}: pass both on."
                )
        elif (found := value.shape[1] if _by_column(name, value) else len(value)) != count:
            raise PcvrError(
                f"{name} has {found} rows for {count} samples, which cannot be attributed to them: give each "
                "sample one image and a row of each tensor, without packing."
            )


def image_rows(batch: Batch) -> list[Row]:
    """Return the image of each sample as the processor gives it for one alone, without the batch's padding."""
    if _GRID in batch:
        grids = batch[_GRID]
        return [{_PIXELS: p, _GRID: grids[i : i + 1]} for i, p in enumerate(patches_of(batch))]
    if _sized(batch):
        sides = batch[_SIZES].tolist()
        return [{_PIXELS: p[:, :high, :wide]} for p, (high, wide) in zip(batch[_PIXELS], sides, strict=True)]
    return [{_PIXELS: pixels[real_tiles(pixels)] if pixels.dim() == 4 else pixels} for pixels in batch[_PIXELS]]


def with_images(batch: Batch, pixels: Sequence[Tensor]) -> Batch:
    """Return a batch with other ``pixel_values``, one tensor a sample as `image_rows` gives them."""
    if batch[_PIXELS].dim() != 5:
        return batch | {_PIXELS: joined(_PIXELS, pixels)}
    whole = batch[_PIXELS].clone()
    for own, new in zip(whole, pixels, strict=True):
        own[real_tiles(own)] = new
    return batch | {_PIXELS: whole}


def by_sample(batch: Batch, watched: Sequence[Tensor]) -> list[Tensor] | None:
    """Divide what `pcvr.models.tower.watched_tower` collected among the samples of the batch.

    Args:
        batch: with ``pixel_values`` ``[B, 3, H, W]``, of several sizes if there are ``image_sizes`` ``[B, 2]``, tiles
            ``[B, n, 3, H, W]``, of which zero ones are padding that the tower may not see, or rows of patches with
            ``image_grid_thw`` ``[B, 3]``.
        watched: tensors ``[pictures or tiles, tokens, D]``, or ``[patches, D]``, of images of several sizes.

    Returns:
        One tensor ``[tokens, D]`` a sample; None where they cannot be attributed.
    """
    if not watched:
        return None
    features = torch.cat([each.flatten(0, -3) if each.dim() > 3 else each for each in watched])
    samples = len(batch["index"])
    if _GRID in batch or _sized(batch):
        areas = (batch[_GRID] if _GRID in batch else batch[_SIZES]).prod(-1).tolist()  # patches or pixels
        features = features.flatten(0, -2)
        merged, left = divmod(sum(areas), max(1, len(features)))  # of which the tower makes one token
        if len(areas) != samples or left or any(each % merged for each in areas):
            return None
        return list(features.split([each // merged for each in areas]))
    pixels = batch[_PIXELS]
    counts = [1] * samples
    if pixels.dim() == 5:
        counts = real_tiles(pixels).sum(1).tolist()
        if len(features) == samples * pixels.shape[1]:
            counts = [pixels.shape[1]] * samples
    if len(pixels) != samples or sum(counts) != len(features) or features.dim() != 3:
        return None
    return [part.flatten(0, 1) for part in features.split(counts)]


def patches_of(batch: Batch) -> tuple[Tensor, ...]:
    """Return the packed patches ``[n, D]`` of each sample."""
    return batch[_PIXELS].split(batch[_GRID].prod(-1).tolist())


def _sized(batch: Batch) -> bool:
    """Return whether the images have several sizes and are filled up; tiles come with the sizes of their files."""
    return _SIZES in batch and batch[_PIXELS].dim() == 4


def _by_column(name: str, value: Tensor) -> bool:
    """Return whether a tensor has a column for each sample: positions along several axes, ``[3, B, T]``."""
    return name == _POSITIONS and value.dim() == 3
