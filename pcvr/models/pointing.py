"""Where to look: in pretraining some heads of attention are told which object, or which place, they are about.

Before each word, one head of the language model is told which object the answer speaks of; and half the heads of a
Q-Former are told each query's own square of the picture. Left alone, a small language model learns to look an object up
by its kind late and all at once, after thousands of steps of guessing, and queries all look everywhere, so that what
lies where is lost. Told where to look they start at once. Nothing of this is left in the checkpoint but its weights.
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
    """Where a Q-Former's queries look: half the heads of each cross-attention are told each query's own square.

    A square of the picture is as many pixels wide as an image token stands for, in reading order.

    Attributes:
        hooks: to remove in the end; none where the model has no Q-Former.
    """

    def __init__(self, model: nn.Module, entry: Embedded) -> None:
        readers = [part for name, part in model.named_modules() if name.endswith("crossattention.attention")]
        self.hooks = [reader.register_forward_hook(self._keep) for reader in readers]
        self.layers = len(readers)
        self.looks: list[Tensor] = []
        self.own = torch.from_numpy(_overlap(SIZE_PX // entry.cell, SIZE_PX // entry.patch))  # [Q, P]

    def _keep(self, _module: nn.Module, _args: Any, output: tuple[Tensor, Tensor]) -> None:
        self.looks.append(output[1][:, : output[1].shape[1] // 2])

    def loss(self) -> Tensor:
        """Minus the log of the attention's share on the patches of each query's own square, a mean over all; of the
        last forward pass, which is then forgotten."""
        looks, self.looks = torch.cat(self.looks[-self.layers :], dim=1), []
        patches = slice(looks.shape[-1] - self.own.shape[1], looks.shape[-1])  # the class token stands in front
        flat = looks.flatten(0, 1)  # [B heads, Q, tokens]
        return pointing_loss(flat, self.own.to(flat.device).expand(len(flat), -1, -1), patches)


def _overlap(cells: int, patches: int) -> np.ndarray:
    """Which patches each square of a grid touches: float32 ``[cells^2, patches^2]`` of 0 and 1."""
    cell, patch = np.arange(cells)[:, None], np.arange(patches)[None, :]
    touch = (cell * patches < (patch + 1) * cells) & (patch * cells < (cell + 1) * patches)  # [cells, patches]
    return np.kron(touch, touch).astype(np.float32)
