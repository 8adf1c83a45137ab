"""How many samples go through a model at a time: as many as the free memory holds, from the model's config."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

import torch

from pcvr.models.memory import free_memory
from pcvr.models.store import row_bytes
from pcvr.utils.checks import check_whole

if TYPE_CHECKING:
    from pcvr.models.store import Row
    from pcvr.models.vlm import VisionLanguageModel

MOST_ANSWERED = 256
"""Samples that are answered at a time at most; more are no faster."""
SHARE = {"cuda": 0.8, "mps": 0.6, "cpu": 0.5}
"""Share of the free memory that a batch may take; the rest is for what the estimate leaves out."""
FLOAT = 4
COPIES = 8
"""Float32 copies of the answers' logits that are alive at a time: of two views, and what a divergence makes of them."""

T = TypeVar("T")


@dataclass(frozen=True)
class Costs:
    """What decides a model's memory beside its weights, all from its config.

    Attributes:
        element: bytes of a number of the weights.
        layers: of the language model.
        width: of its hidden states.
        inner: width inside its feed-forward layers.
        cached: numbers that keys and values of one token take in one layer.
        heads: attention heads.
        words: size of the vocabulary.
        tower_layers: of the vision tower.
        tower_width: of its hidden states.
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
        """Those of a model."""
        config = vlm.base.config
        text, vision = config.get_text_config(), config.vision_config
        heads = int(text.num_attention_heads)
        width = int(text.hidden_size)
        head = int(getattr(text, "head_dim", None) or width // heads)
        tower_width = int(getattr(vision, "embed_dim", None) or getattr(vision, "hidden_size", None) or width)
        return Costs(
            element=max(2, torch.empty((), dtype=vlm.base.dtype).element_size()),  # in 4 bits it computes in 16
            layers=int(text.num_hidden_layers),
            width=width,
            inner=int(getattr(text, "intermediate_size", None) or getattr(text, "ffn_dim", None) or 4 * width),
            cached=2 * int(getattr(text, "num_key_value_heads", None) or heads) * head,
            heads=heads,
            words=int(text.vocab_size),
            tower_layers=int(getattr(vision, "num_hidden_layers", None) or getattr(vision, "depth", None) or 32),
            tower_width=tower_width,
            patch=int(getattr(vision, "patch_size", 14)),
            eager=getattr(config, "_attn_implementation", None) == "eager",
        )

    def answering(self, row: Row, new_tokens: int) -> int:
        """Bytes that one sample takes while it is answered: cache, one layer's inside, the last words, its picture.

        Args:
            row: the encoded prompt and picture, ``input_ids [T]`` among them.
            new_tokens: answer budget.
        """
        tokens = len(row["input_ids"])
        cache = self.layers * self.cached * (tokens + new_tokens) * self.element
        return cache + self._inside(tokens) + 3 * FLOAT * self.words + self._seen(row)

    def reading(self, row: Row, told: int, hidden: bool = False) -> int:
        """Bytes that one sample takes while it is read with its answer, without gradient.

        Args:
            row: the encoded sample.
            told: positions at which words are kept, as float32 logits.
            hidden: whether every layer's hidden states are asked for.
        """
        tokens = len(row["input_ids"])
        kept = (self.layers + 1) * self.width * tokens * self.element if hidden else 0
        words = told * self.words * (self.element + COPIES * FLOAT)
        return kept + words + self._inside(tokens) + self._seen(row)

    def _inside(self, tokens: int) -> int:
        attention = self.heads * tokens * tokens * (FLOAT + self.element) if self.eager else 0
        return tokens * (6 * self.width + 3 * self.inner) * self.element + attention

    def _seen(self, row: Row) -> int:
        """The picture, and every layer of the tower on it, since a connector may read any."""
        if "pixel_values" not in row:
            return 2 * row_bytes(row)
        patches = row["pixel_values"].numel() // (3 * self.patch**2)
        return 2 * row_bytes(row) + patches * self.tower_width * (self.tower_layers + 8) * self.element


def budget(device: torch.device) -> int | None:
    """Bytes that a batch may take on `device`, or None where the system does not say what is free."""
    free = free_memory(device)
    if free is None:
        return None
    if device.type == "cuda":  # torch holds freed memory back, which is as good as free
        free += torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return int(SHARE.get(device.type, 0.5) * free)


def grouped(
    items: Iterable[T], cost: Callable[[T], int], most: int, device: torch.device, given: int | None = None
) -> Iterator[list[T]]:
    """Items in order, in batches of at most `most` that fit the device's memory; a batch of one is always allowed.

    Args:
        items: what is batched.
        cost: bytes that an item takes; in a batch all take as much as the largest, since they are padded.
        most: the size where memory is no question.
        device: whose free memory is asked for before each batch.
        given: a size that the caller chose; then memory is not asked for.

    Raises:
        PcvrError: `given` is no whole number from 1 up.
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
    """Raise unless a batch size is None or a whole number from 1 up."""
    if size is not None:
        check_whole(name, size, 1, what="None for as many as fit the memory")


def context_of(vlm: VisionLanguageModel) -> int | None:
    """Tokens that the language model reads at most, picture and answer included; None where its config has no limit."""
    limit = getattr(vlm.base.config.get_text_config(), "max_position_embeddings", None)
    return limit if isinstance(limit, int) and limit > 0 else None
