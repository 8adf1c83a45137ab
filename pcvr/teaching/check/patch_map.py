"""Exercise: from attention rows to a map over the picture."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from pcvr.teaching.compare import as_array, expect
from pcvr.teaching.core import ask, exercise

_H, _DOWN, _ACROSS = 3, 2, 4  # down and across differ, so that a turned map shows in its shape
_BEFORE, _BEHIND = 2, 5  # tokens before and behind the image tokens
_CALL = "patch_map(attention, image_at, grid)"


@exercise("attention as a map over the picture")
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
    return f"The map is right, and it sums to {share:.2f}: the rest of the attention lies on words, not on the picture."


def _example() -> tuple[np.ndarray, np.ndarray]:
    """Attention ``[H, T]`` of three heads whose rows sum to 1, and where the image tokens stand."""
    cells = _DOWN * _ACROSS
    raw = np.random.default_rng(7).gamma(0.7, size=(_H, _BEFORE + cells + _BEHIND)) + 0.02
    return raw / raw.sum(1, keepdims=True), np.arange(_BEFORE, _BEFORE + cells)


def _mistakes(attention: np.ndarray, image_at: np.ndarray, want: np.ndarray) -> dict[str, np.ndarray]:
    cells, mean, picture = len(image_at), attention.mean(0), attention[:, image_at]
    first = "The first image token does not stand at position 0: pick the positions in image_at"
    columns = "The tokens run row by row, left to right: reshape to (down, across), and do not turn the map"
    return {
        "This is the sum over heads: take their mean, so that a map is a share of the attention.": want * _H,
        "This is the strongest head of each cell: take the mean over heads.": picture.max(0).reshape(want.shape),
        "This is one head, the first: take the mean over heads.": picture[0].reshape(want.shape),
        "This is one head, the last: take the mean over heads.": picture[-1].reshape(want.shape),
        f"{first}.": mean[:cells].reshape(want.shape),
        "These are the last positions, not those of the picture: pick the positions in image_at.": (
            mean[-cells:].reshape(want.shape)
        ),
        "The map is scaled to sum to 1: leave it as it is, since its sum says how much falls on the picture at all.": (
            want / want.sum()
        ),
        "The map is scaled to its own maximum: leave it as it is.": want / want.max(),
        f"{columns}.": mean[image_at].reshape(_ACROSS, _DOWN).T,
        f"{columns}; grid is (down, across).": mean[image_at].reshape(_ACROSS, _DOWN),
        f"{columns}: this one is transposed.": want.T,
        "The heads are still apart: take their mean before you lay out the map.": picture.reshape(_H, *want.shape),
        "This is still a row of numbers: reshape it to grid.": mean[image_at],
        "This still has every token in it: pick the positions in image_at, then reshape to grid.": mean,
        "A mean was taken over the tokens: the heads are the first axis, so mean(0).": attention.mean(1),
    }
