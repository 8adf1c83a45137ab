"""A batch of somebody else's collator, checked, as the batches of this package are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from pcvr.errors import PcvrError, shown
from pcvr.models.batch_rows import check_rows, select_rows
from pcvr.models.encode import IGNORE, Batch, joined

if TYPE_CHECKING:
    from pcvr.models.vlm import VisionLanguageModel

INDEX = "index"
"""The column that says which sample of the data set a row is."""
NEEDED = ("input_ids", "labels", "pixel_values")
LARGEST_INDEX = 10**8
"""A gate keeps a few bytes for every index up to the largest one, so a hash is no index."""
PACKED = ("cu_seq_lens_q", "cu_seq_lens_k", "seq_idx", "seq_lengths")
"""Columns of batches in which one row holds several samples."""


def as_batch(vlm: VisionLanguageModel, inputs: Mapping[str, Any], index: Any = None) -> Batch:
    """Return the tensors of a batch with ``index [B]``; a sample without a label token is still there.

    Args:
        vlm: the model that the batch is for.
        inputs: what a collator made: ``input_ids``, ``labels`` ``[B, T]`` (-100 on what is not learned), the image
            tensors of the family's processor. What is not a tensor is left out.
        index: ``[B]`` whole numbers, the same for a sample in every epoch; by default ``inputs["index"]``.

    Raises:
        PcvrError: a column is missing, the samples have no index, or rows cannot be attributed to samples.
    """
    batch = {name: value for name, value in inputs.items() if isinstance(value, Tensor) and value.dim()}
    _check_columns(batch, inputs)
    if any(name in inputs for name in PACKED) or _restarts(batch):
        raise PcvrError(
            "the batch is packed, several samples in one row: PCVR needs one sample a row, so set packing=False and "
            "padding_free=False."
        )
    batch[INDEX] = as_index(inputs.get(INDEX) if index is None else index, len(batch["input_ids"]))
    _check_images(vlm, batch)
    batch["pixel_values"] = as_collated(vlm, batch)
    check_rows(batch)
    return batch


def learned_rows(labels: Tensor) -> Tensor:
    """Return which samples have a token that is learned: labels ``[B, T]`` -> bool ``[B]``."""
    return (labels[:, 1:] != IGNORE).any(1)  # the first token is never predicted


def labelled(batch: Batch) -> Batch:
    """Return a batch without the samples that have no label token.

    Raises:
        PcvrError: no sample has one.
    """
    learned = learned_rows(batch["labels"])
    if not learned.any():
        raise PcvrError(
            "the labels of the batch are all -100, so there is nothing to learn from it: check the collator's mask, "
            "or whether max_length cuts the answers off."
        )
    return batch if learned.all() else select_rows(batch, learned.nonzero()[:, 0])


def as_index(given: Any, count: int) -> Tensor:
    """Return the indices of a batch's samples as ``[B]`` whole numbers on the CPU.

    Raises:
        PcvrError: there are none, they are not `count`, or they are not whole numbers from 0.
    """
    if given is None:
        raise PcvrError(
            "the batch has no index of its samples: give index=, whole numbers that stay the same for a sample in "
            "every epoch, such as its row in the data set."
        )
    if isinstance(given, Set):
        raise PcvrError(f"index is {shown(given)}, a set without an order: give a list, one number for each sample.")
    try:
        index = given if isinstance(given, Tensor) else torch.as_tensor(list(given))
    except (TypeError, ValueError, RuntimeError, OverflowError):
        index = torch.empty(0, dtype=torch.float)
    whole = not (index.is_floating_point() or index.is_complex() or index.dtype is torch.bool)
    if not whole or index.shape != (count,) or bool((index < 0).any()):
        raise PcvrError(
            f"index is {shown(given)}: give {count} whole numbers from 0, one for each sample of the batch."
        )
    check_largest(int(index.max()) if count else 0)
    return index.detach().long().cpu()


def check_largest(index: int) -> None:
    """Raise if an index is too large to be a sample's number.

    Raises:
        PcvrError: it is `LARGEST_INDEX` or more.
    """
    if index >= LARGEST_INDEX:
        raise PcvrError(
            f"index {index} is too large, since a gate keeps a few bytes for every number up to it: give each sample's "
            "row in the data set, and no hash."
        )


def as_collated(vlm: VisionLanguageModel, batch: Batch) -> Tensor:
    """Return ``pixel_values`` with one row a sample, as the collator of this package makes them; see `Family.pack`.

    The tiles of all images in one row are divided by the samples' image tokens.

    Raises:
        PcvrError: the numbers of tiles and of image tokens do not fit.
    """
    pixels = batch["pixel_values"]
    if vlm.family.pack == "list" and pixels.shape[1] == 1:
        return pixels[:, 0]
    if vlm.family.pack != "row":
        return pixels
    tokens = _image_tokens(vlm, batch)
    each, left = divmod(sum(tokens), max(1, len(pixels)))
    if left or not each or any(count % each for count in tokens):
        raise PcvrError(
            f"pixel_values are {len(pixels)} tiles and input_ids have {tokens} image tokens, which do not "
            "fit: give what the model's own processor makes of samples with one image each."
        )
    return joined("pixel_values", list(pixels.split([count // each for count in tokens])))


def label_tokens(labels: Tensor) -> int:
    """Return the number of tokens with a label that a model predicts: all but the first of a row, ``[B, T]``."""
    return int((labels[:, 1:] != IGNORE).sum())


def _check_columns(batch: Batch, inputs: Mapping[str, Any]) -> None:
    missing = [name for name in NEEDED if name not in batch]
    other = [name for name in missing if inputs.get(name) is not None]
    if other:
        raise PcvrError(
            f"{other[0]} of the batch is a {type(inputs[other[0]]).__name__}: give torch tensors with a row a sample, "
            "such as a processor with return_tensors='pt' makes."
        )
    if missing:
        raise PcvrError(
            f"the batch lacks {' and '.join(missing)} and has {_listed(inputs)}: use a collator that keeps them, with "
            "remove_unused_columns=False if it needs other columns of the data."
        )
    shape = batch["input_ids"].shape
    if len(shape) != 2 or batch["labels"].shape != shape:
        raise PcvrError(
            f"input_ids {tuple(shape)} and labels {tuple(batch['labels'].shape)} do not fit: give both as [samples, "
            "tokens], labels with -100 on what is not learned."
        )


def _check_images(vlm: VisionLanguageModel, batch: Batch) -> None:
    """Raise unless ``pixel_values`` have the family's layout, one image a sample."""
    pixels, family = batch["pixel_values"], vlm.family
    packed = "image_grid_thw" in batch
    if pixels.dim() != family.dimensions or packed != (family.layout == "patches"):
        raise PcvrError(
            f"pixel_values are {tuple(pixels.shape)} {'with' if packed else 'without'} image_grid_thw, which is not "
            f"the layout of {family.model_type}: give what its own processor makes, one image a sample."
        )
    tokens = _image_tokens(vlm, batch)
    same = family.layout != "picture" or family.pack == "list" or len(set(tokens)) == 1
    if not same or not all(tokens):
        raise PcvrError(
            f"input_ids have {tokens} image tokens, which is not one image a sample: leave out samples "
            "without an image and with several, and check whether max_length cuts images off."
        )


def _image_tokens(vlm: VisionLanguageModel, batch: Batch) -> list[int]:
    """Return the number of image tokens of each sample, ``B`` of them."""
    found: list[int] = (batch["input_ids"] == vlm.image_token_id).sum(1).tolist()
    return found


def _restarts(batch: Batch) -> bool:
    """Return whether positions ``[B, T]`` begin again within a row, as they do where samples are packed."""
    positions = batch.get("position_ids")
    if positions is None or positions.dim() != 2:
        return False
    again = (positions[:, 1:] == 0) & (positions[:, :-1] > 0)
    mask = batch.get("attention_mask")
    return bool((again if mask is None or mask.shape != positions.shape else again & mask[:, 1:].bool()).any())


def _listed(names: Sequence[str] | Mapping[str, Any]) -> str:
    return ", ".join(map(str, names)) or "nothing"
