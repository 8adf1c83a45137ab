"""Supervised attention: in pretraining, some attention heads are trained to look at a given object or square.

One head of the language model learns to attend to the object of the next word, and the heads of a Q-Former to a square
of the image for each query. Without this, a small language model learns to find objects by their kind only after
thousands of steps, and all queries attend everywhere, so that positions are lost. The checkpoint keeps nothing of this
but its weights.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from pcvr.data.scenes import COLORS, KINDS, SIZE_PX
from pcvr.data.scenes.sprites import SIZES
from pcvr.models.zoo import Embedded

ARTICLES = ("a", "an")
LAYER, HEAD = 2, 0
"""The supervised head and its layer: layers before it read the question, layers after it form the answer."""


def spoken_of(prompt: Sequence[str], answer: Sequence[str], present: Sequence[str]) -> list[list[int]]:
    """Return the objects that each word of an answer refers to, as indices in `present`.

    A kind refers to itself; a colour, a size and an article before it refer to the next kind. In an answer without a
    kind, each word refers to the kinds of the question. Kinds that are not in the image have no index, and repeated
    sentences refer to nothing.

    Args:
        prompt: words of the question.
        answer: words of the answer.
        present: kinds of the objects in the image, all different.
    """
    if prompt[:1] == ["repeat"]:
        return [[]] * len(answer)
    asked = [present.index(word) for word in dict.fromkeys(prompt) if word in present]
    if not any(word in KINDS for word in answer):
        return [asked] * len(answer)
    found: list[list[int]] = []
    coming: list[int] = []
    after = False  # whether the next word belongs to an object
    for word in reversed(answer):
        if word in KINDS:
            coming, after = [present.index(word)] if word in present else [], True
        else:
            after = after and (word in COLORS or word in SIZES or word in ARTICLES)
        found.append(coming if after else [])
        after &= word not in ARTICLES
    return found[::-1]


class Glance:
    """The pointing head's attention in the last forward pass: ``weights [B, T, T]``."""

    weights: Tensor

    def keep(self, _module: nn.Module, _args: Any, output: tuple[Tensor, Tensor]) -> None:
        self.weights = output[1][:, HEAD]


@contextmanager
def recorded_head(language_model: nn.Module) -> Iterator[Glance]:
    """Record the attention of the pointing head of `language_model` inside the block; it must be eager."""
    glance = Glance()
    hook = language_model.get_submodule(f"layers.{LAYER}.self_attn").register_forward_hook(glance.keep)
    try:
        yield glance
    finally:
        hook.remove()


def pointing_loss(weights: Tensor, points: Tensor, picture: slice) -> Tensor:
    """Return the mean over words of the negative log of the attention on their objects.

    Args:
        weights: ``[B, T, T]``, rows sum to one.
        points: ``[B, T, P]``, 1 for the image tokens of the next word's object; rows of zeros are ignored.
        picture: the P columns of the image tokens.
    """
    at = points.any(-1)  # [B, T]
    on_object = (weights[..., picture][at].float() * points[at]).sum(-1)
    return -on_object.clamp_min(1e-6).log().mean()


class Queries:
    """Supervises the first cross-attention of a Q-Former; later ones are free.

    Each query has its own square of the image, in reading order and as wide as an image token's cell. Each of its four
    heads attends to one of the four patches that the square touches. So the query's vector holds the four patches
    separately, not only their mean.

    Attributes:
        hooks: hooks to remove at the end; empty for a model without Q-Former.
        own: ``[heads, queries, patches]``, 1 where a head of a query should attend.
        look: attention in the last forward pass, ``[B, heads, queries, tokens]``.
    """

    look: Tensor

    def __init__(self, model: nn.Module, entry: Embedded) -> None:
        readers = [part for name, part in model.named_modules() if name.endswith("crossattention.attention")]
        self.hooks = [reader.register_forward_hook(self._keep) for reader in readers[:1]]
        self.own = torch.from_numpy(own_patches(SIZE_PX // entry.cell, SIZE_PX // entry.patch)) if readers else None

    def _keep(self, _module: nn.Module, _args: Any, output: tuple[Tensor, Tensor]) -> None:
        self.look = output[1]

    def loss(self) -> Tensor:
        """Return the mean negative log of the attention of each query's head on its own patch."""
        assert self.own is not None
        patches = slice(self.look.shape[-1] - self.own.shape[-1], self.look.shape[-1])  # without the class token
        own = self.own.to(self.look.device).expand(len(self.look), -1, -1, -1)
        return pointing_loss(self.look.flatten(0, 1), own.flatten(0, 1), patches)


def own_patches(cells: int, patches: int) -> np.ndarray:
    """Return the four patches that each square of a coarser grid touches, one a head.

    Args:
        cells: squares along a side.
        patches: patches along a side, more than `cells` and fewer than twice as many.

    Returns:
        float32 ``[4, cells^2, patches^2]``: top left, top right, bottom left, bottom right.
    """
    first = np.arange(cells) * patches // cells
    sides = np.eye(patches)[np.stack([first, first + 1])]  # [2, cells, patches]
    return np.concatenate([np.kron(down, across)[None] for down in sides for across in sides]).astype(np.float32)
