"""Throw-away readers for pretraining: what lies at each place, read off the tower's tokens and off the image tokens."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits, mse_loss, normalize

from pcvr.pretraining.corrupt import OVERLAYS
from pcvr.pretraining.squares import NAMES


class Truth(NamedTuple):
    """What there is at each of P places: ``pixels [B, P, 3 s s]``, ``under [B, P, NAMES]``, ``over [B, P, 4]``."""

    pixels: Tensor
    under: Tensor
    over: Tensor


def truth_at(pixels: Tensor, side: int, under: Tensor, over: Tensor) -> Truth:
    """The truth for places of `side` pixels: pictures ``[B, 3, H, W]`` are cut into squares."""
    return Truth(nn.functional.unfold(pixels, side, stride=side).transpose(1, 2), under, over)


class Reader(nn.Module):
    """Rebuilds the pixels at each place of tokens, and names what lies there and what is laid over it.

    Of image tokens the names are read by comparing them with the language model's own embeddings of those words. So
    they come to lie where the words lie, and a word of a question finds the places it speaks of by plain attention.
    """

    def __init__(self, width: int, side: int) -> None:
        super().__init__()
        self.pixels = nn.Linear(width, 3 * side * side)
        self.under = nn.Linear(width, len(NAMES))
        self.over = nn.Linear(width, len(OVERLAYS))
        self.sharpness = nn.Parameter(torch.tensor(3.0))

    def forward(self, tokens: Tensor, truth: Truth, words: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor]:
        """Losses of tokens ``[B, P, D]``: pixels, what lies there, what is over it.

        Args:
            tokens: one for each place.
            truth: what there is.
            words: ``[NAMES, D]``, embeddings of the names, to compare the tokens with; a free layer reads them else.
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
