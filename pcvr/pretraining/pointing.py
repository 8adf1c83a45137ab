"""Where to look: in pretraining some heads of attention are told which object, or which place, they are about.

Before each word, one head of the language model is told which object the answer speaks of; and the heads of a Q-Former
are told a square of the picture for each query. Left alone, a small language model learns to look an object up by its
kind late and all at once, after thousands of steps of guessing, and queries all look everywhere, so that what lies
where is lost. Told where to look they start at once. Nothing of this is left in the checkpoint but its weights.
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
"""Which layer's which head: those before it read the question, those after it say what was seen."""


def spoken_of(prompt: Sequence[str], answer: Sequence[str], present: Sequence[str]) -> list[list[int]]:
    """The objects that each word of an answer speaks of, as places in `present`.

    A kind speaks of itself; a colour, a size and the article before them speak of the next kind. An answer that names
    no kind speaks, with each word, of the kinds that the question names. Kinds that are not in the picture have no
    place, and what is only repeated speaks of nothing.

    Args:
        prompt: words of the question.
        answer: words of the answer.
        present: kinds of the objects in the picture, all different.
    """
    if prompt[:1] == ["repeat"]:
        return [[]] * len(answer)
    asked = [present.index(word) for word in dict.fromkeys(prompt) if word in present]
    if not any(word in KINDS for word in answer):
        return [asked] * len(answer)
    found: list[list[int]] = []
    coming: list[int] = []
    after = False  # whether the word that follows belongs to an object
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
def watched(language_model: nn.Module) -> Iterator[Glance]:
    """Inside the block the pointing head of `language_model` is watched; its attention must be written out (eager)."""
    glance = Glance()
    hook = language_model.get_submodule(f"layers.{LAYER}.self_attn").register_forward_hook(glance.keep)
    try:
        yield glance
    finally:
        hook.remove()


def pointing_loss(weights: Tensor, points: Tensor, picture: slice) -> Tensor:
    """How far attention is from the objects: minus the log of its share that lies on them, a mean over words.

    Args:
        weights: ``[B, T, T]``, rows sum to one.
        points: ``[B, T, P]``, 1 for the image tokens of what the next word speaks of; a row of zeros counts nothing.
        picture: the P columns of the image tokens.
    """
    at = points.any(-1)  # [B, T]
    share = (weights[..., picture][at].float() * points[at]).sum(-1)
    return -share.clamp_min(1e-6).log().mean()


class Queries:
    """Where a Q-Former's queries look first: its first cross-attention is told, the later ones are free.

    Each query has a square of the picture as its own, in reading order and as many pixels wide as an image token stands
    for; each of its four heads one of the four patches that the square touches. A head of its own for each patch keeps
    them apart in the query's vector, where one look at all four would leave their mean.

    Attributes:
        hooks: to remove in the end; none where the model has no Q-Former.
        own: ``[heads, queries, patches]``, 1 where a head of a query is to look.
        look: the attention in the last forward pass, ``[B, heads, queries, tokens]``.
    """

    look: Tensor

    def __init__(self, model: nn.Module, entry: Embedded) -> None:
        readers = [part for name, part in model.named_modules() if name.endswith("crossattention.attention")]
        self.hooks = [reader.register_forward_hook(self._keep) for reader in readers[:1]]
        self.own = torch.from_numpy(own_patches(SIZE_PX // entry.cell, SIZE_PX // entry.patch)) if readers else None

    def _keep(self, _module: nn.Module, _args: Any, output: tuple[Tensor, Tensor]) -> None:
        self.look = output[1]

    def loss(self) -> Tensor:
        """Minus the log of the attention that each head of each query pays to its own patch, a mean over all."""
        assert self.own is not None
        patches = slice(self.look.shape[-1] - self.own.shape[-1], self.look.shape[-1])  # a class token stands in front
        own = self.own.to(self.look.device).expand(len(self.look), -1, -1, -1)
        return pointing_loss(self.look.flatten(0, 1), own.flatten(0, 1), patches)


def own_patches(cells: int, patches: int) -> np.ndarray:
    """The four patches that each square of a coarser grid touches, one for each head.

    Args:
        cells: squares along a side.
        patches: patches along a side, more than `cells` and fewer than twice as many.

    Returns:
        float32 ``[4, cells^2, patches^2]``: top left, top right, bottom left, bottom right.
    """
    first = np.arange(cells) * patches // cells
    sides = np.eye(patches)[np.stack([first, first + 1])]  # [2, cells, patches]
    return np.concatenate([np.kron(down, across)[None] for down in sides for across in sides]).astype(np.float32)
