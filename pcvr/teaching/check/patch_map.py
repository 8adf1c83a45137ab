"""Exercise: from attention rows to a map over the image."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from pcvr.teaching.compare import as_array, expect
from pcvr.teaching.core import ask, exercise

_H, _DOWN, _ACROSS = 3, 2, 4  # down and across differ, so that a transposed map changes the shape
_BEFORE, _BEHIND = 2, 5  # tokens before and after the image tokens
_CALL = "patch_map(attention, image_at, grid)"


@exercise("attention as a map over the image")
def patch_map(to_map: Callable[[Any, Any, tuple[int, int]], Any]) -> str:
    """Check ``patch_map(attention, image_at, grid)``: ``[H, T]`` of one word -> ``[down, across]``, mean over heads."""
    import torch

    attention, image_at = _example()
    grid = (_DOWN, _ACROSS)
    value = ask(to_map, torch.tensor(attention, dtype=torch.float32), torch.tensor(image_at), grid, call=_CALL)
    got = as_array(value, _CALL)
    mean = attention.mean(0)
    want = mean[image_at].reshape(grid)
    expect(got, want, _CALL, "[down, across]", _mistakes(attention, image_at, want))
    share = float(want.sum())
    return f"The map sums to {share:.2f}. The rest of the attention is on words, not on the image."


def _example() -> tuple[np.ndarray, np.ndarray]:
    """Return attention ``[H, T]`` of three heads, each row with sum 1, and the positions of the image tokens."""
    cells = _DOWN * _ACROSS
    raw = np.random.default_rng(7).gamma(0.7, size=(_H, _BEFORE + cells + _BEHIND)) + 0.02
    return raw / raw.sum(1, keepdims=True), np.arange(_BEFORE, _BEFORE + cells)


def _mistakes(attention: np.ndarray, image_at: np.ndarray, want: np.ndarray) -> dict[str, np.ndarray]:
    cells, mean, picture = len(image_at), attention.mean(0), attention[:, image_at]
    first = "The first image token is not at position 0: select the positions in image_at"
    columns = "The tokens are in reading order, row by row: reshape to (down, across), and do not transpose the map"
    return {
        "This is the sum over heads: take the mean, so that the map is a fraction of the attention.": want * _H,
        "This is the strongest head of each cell: take the mean over heads.": picture.max(0).reshape(want.shape),
        "This is one head, the first: take the mean over heads.": picture[0].reshape(want.shape),
        "This is one head, the last: take the mean over heads.": picture[-1].reshape(want.shape),
        f"{first}.": mean[:cells].reshape(want.shape),
        "These are the last positions, not those of the image: select the positions in image_at.": (
            mean[-cells:].reshape(want.shape)
        ),
        "The map is scaled to sum to 1: do not scale it, because its sum is the fraction of attention on the image.": (
            want / want.sum()
        ),
        "The map is scaled to its own maximum: do not scale it.": want / want.max(),
        f"{columns}.": mean[image_at].reshape(_ACROSS, _DOWN).T,
        f"{columns}; grid is (down, across).": mean[image_at].reshape(_ACROSS, _DOWN),
        f"{columns}: yours is transposed.": want.T,
        "The heads are still apart: take the mean over heads before you reshape.": picture.reshape(_H, *want.shape),
        "This is still a row of numbers: reshape it to grid.": mean[image_at],
        "This still contains every token: select the positions in image_at, then reshape to grid.": mean,
        "This is a mean over the tokens: the heads are the first axis, so use mean(0).": attention.mean(1),
    }
