"""Batch sizes that fit the free memory, estimated from the model's config."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import torch

from pcvr.models.memory import free_memory
from pcvr.models.picture_tokens import side_of
from pcvr.models.store import row_bytes
from pcvr.utils.checks import check_whole

if TYPE_CHECKING:
    from pcvr.models.store import Row
    from pcvr.models.vlm import VisionLanguageModel

MOST_ANSWERED = 256
"""Maximum number of samples answered at a time; larger batches are no faster."""
ANSWERED_ON_CPU = 64
"""The same on a CPU, where a larger batch takes hundreds of megabytes for nothing."""
SHARE = {"cuda": 0.8, "mps": 0.6, "cpu": 0.5}
"""Fraction of the free memory that a batch may take; the estimate leaves out the rest."""
FLOAT = 4
COPIES = 8
"""Float32 copies of the answers' logits alive at a time: those of two views, and intermediates of a divergence."""

T = TypeVar("T")


@dataclass(frozen=True)
class Costs:
    """Sizes that decide a model's memory beside its weights, from its config.

    Attributes:
        element: bytes of one weight.
        layers: number of layers of the language model.
        width: width of its hidden states.
        inner: width inside its feed-forward layers.
        cached: elements in the keys and values of one token in one layer.
        heads: number of attention heads.
        words: size of the vocabulary.
        tower_layers: number of layers of the vision tower.
        tower_width: width of its hidden states.
        patch: side of its patches in pixels.
        eager: whether attention weights are written out.
    """

    element: int
    layers: int
    width: int
    inner: int
    cached: int
    heads: int
    words: int
    tower_layers: int
    tower_width: int
    patch: int
    eager: bool

    @staticmethod
    def of(vlm: VisionLanguageModel) -> Costs:
        """Return the costs of a model."""
        return Costs.of_config(vlm.base.config, vlm.base.dtype)

    @staticmethod
    def of_config(config: Any, dtype: torch.dtype) -> Costs:
        """Return the costs of a model with this config and weights of `dtype`."""
        text, vision = config.get_text_config(), config.vision_config
        heads = int(text.num_attention_heads)
        width = int(text.hidden_size)
        head = int(getattr(text, "head_dim", None) or width // heads)
        tower_width = int(getattr(vision, "embed_dim", None) or getattr(vision, "hidden_size", None) or width)
        return Costs(
            element=max(2, torch.empty((), dtype=dtype).element_size()),  # 4-bit weights compute in 16 bits
            layers=int(text.num_hidden_layers),
            width=width,
            inner=int(getattr(text, "intermediate_size", None) or getattr(text, "ffn_dim", None) or 4 * width),
            cached=2 * int(getattr(text, "num_key_value_heads", None) or heads) * head,
            heads=heads,
            words=int(text.vocab_size),
            tower_layers=int(getattr(vision, "num_hidden_layers", None) or getattr(vision, "depth", None) or 32),
            tower_width=tower_width,
            patch=side_of(getattr(vision, "patch_size", 14)),
            eager=getattr(config, "_attn_implementation", None) == "eager",
        )

    def answering(self, row: Row, new_tokens: int) -> int:
        """Return the bytes of one sample during generation: cache, one layer's activations, logits, image.

        Args:
            row: the encoded prompt and image, ``input_ids [T]`` among them.
            new_tokens: maximum length of the answer.
        """
        tokens = len(row["input_ids"])
        cache = self.layers * self.cached * (tokens + new_tokens) * self.element
        return cache + self._layer(tokens) + 3 * FLOAT * self.words + self._image(row)

    def reading(self, row: Row, positions: int, hidden: bool = False) -> int:
        """Return the bytes of one sample in a forward pass with its answer, without gradient.

        Args:
            row: the encoded sample.
            positions: number of positions whose float32 logits are kept.
            hidden: whether the hidden states of all layers are kept.
        """
        tokens = len(row["input_ids"])
        kept = (self.layers + 1) * self.width * tokens * self.element if hidden else 0
        logits = positions * self.words * (self.element + COPIES * FLOAT)
        return kept + logits + self._layer(tokens) + self._image(row)

    def view(self, tokens: int, positions: int) -> int:
        """Return the bytes that a forward pass without gradient adds to a training step; arguments as of `reading`."""
        return positions * self.words * (self.element + COPIES * FLOAT) + self._layer(tokens)

    def _layer(self, tokens: int) -> int:
        """Return the bytes of one layer's activations."""
        attention = self.heads * tokens * tokens * (FLOAT + self.element) if self.eager else 0
        return tokens * (6 * self.width + 3 * self.inner) * self.element + attention

    def _image(self, row: Row) -> int:
        """Return the bytes of the image and of every layer of the tower, since a connector may read any layer."""
        if "pixel_values" not in row:
            return 2 * row_bytes(row)
        patches = row["pixel_values"].numel() // (3 * self.patch**2)
        return 2 * row_bytes(row) + patches * self.tower_width * (self.tower_layers + 8) * self.element


def budget(device: torch.device) -> int | None:
    """Return the bytes that a batch may take on `device`, or None if the free memory is unknown."""
    free = free_memory(device)
    if free is None:
        return None
    if device.type == "cuda":  # torch caches freed memory
        free += torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return int(SHARE.get(device.type, 0.5) * free)


def grouped(
    items: Iterable[T], cost: Callable[[T], int], most: int, device: torch.device, given: int | None = None
) -> Iterator[list[T]]:
    """Yield the items in order, in batches of at most `most` that fit the device's memory, at least one item each.

    Args:
        items: the items.
        cost: bytes of an item; padding makes each item of a batch as large as the largest.
        most: maximum batch size.
        device: device whose free memory is measured before each batch.
        given: batch size chosen by the caller; then memory is not measured.

    Raises:
        PcvrError: `given` is not an integer of at least 1.
    """
    check_size("batch_size", given)
    batch: list[T] = []
    largest, room = 0, None
    for item in items:
        if given is None and not batch:
            room = budget(device)
        price = 0 if given is not None else cost(item)
        full = len(batch) >= (most if given is None else given)
        if batch and (full or (room is not None and (len(batch) + 1) * max(largest, price) > room)):
            yield batch
            batch, largest, room = [], 0, budget(device) if given is None else None
        batch.append(item)
        largest = max(largest, price)
    if batch:
        yield batch


def check_size(name: str, size: int | None) -> None:
    """Raise unless a batch size is None or an integer of at least 1."""
    if size is not None:
        check_whole(name, size, 1, what="None for as many as fit the memory")


def context_of(vlm: VisionLanguageModel) -> int | None:
    """Return the context length of the language model in tokens; None if its config states none."""
    limit = getattr(vlm.base.config.get_text_config(), "max_position_embeddings", None)
    return limit if isinstance(limit, int) and limit > 0 else None
