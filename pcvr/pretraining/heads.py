"""Auxiliary heads for pretraining: they predict the content of each patch from tower tokens and image tokens."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits, mse_loss, normalize

from pcvr.pretraining.corrupt import OVERLAYS
from pcvr.pretraining.squares import NAMES


class Truth(NamedTuple):
    """The content of each of P patches: ``pixels [B, P, 3 s s]``, ``under [B, P, NAMES]``, ``over [B, P, 4]``."""

    pixels: Tensor
    under: Tensor
    over: Tensor


def truth_at(pixels: Tensor, side: int, under: Tensor, over: Tensor) -> Truth:
    """Return the truth for patches of `side` pixels, cut from images ``[B, 3, H, W]``."""
    return Truth(nn.functional.unfold(pixels, side, stride=side).transpose(1, 2), under, over)


class Reader(nn.Module):
    """Predicts the pixels of each token's patch, the objects in it and the overlays on it.

    Image tokens are compared with the language model's own embeddings of the objects' names. So image tokens become
    similar to the words for their content, and a question's word finds its object by plain attention.
    """

    def __init__(self, width: int, side: int) -> None:
        super().__init__()
        self.pixels = nn.Linear(width, 3 * side * side)
        self.under = nn.Linear(width, len(NAMES))
        self.over = nn.Linear(width, len(OVERLAYS))
        self.sharpness = nn.Parameter(torch.tensor(3.0))

    def forward(self, tokens: Tensor, truth: Truth, words: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor]:
        """Return the losses of tokens ``[B, P, D]``: pixels, names of objects, overlays.

        Args:
            tokens: one a patch.
            truth: the content of the patches.
            words: ``[NAMES, D]``, embeddings of the names, which the tokens are compared with; None: a linear layer.
        """
        if words is None:
            named = self.under(tokens)
        else:
            alike = normalize(tokens.float(), dim=-1) @ normalize(words.float(), dim=-1).T
            named = self.sharpness.exp() * alike + self.under.bias
        return (
            mse_loss(self.pixels(tokens).float(), truth.pixels),
            binary_cross_entropy_with_logits(named.float(), truth.under),
            binary_cross_entropy_with_logits(self.over(tokens).float(), truth.over),
        )
