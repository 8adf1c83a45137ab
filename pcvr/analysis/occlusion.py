"""Measure what matters to the model: cover parts of an image and watch the probability of a word.

An attention map shows where a model looked, not whether it needed what is there.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch

from pcvr.analysis.attention import Attention
from pcvr.data.sample import Image, Sample
from pcvr.data.scenes.kinds import COLORS, KINDS
from pcvr.errors import PcvrError
from pcvr.models.encode import collate, encode_samples
from pcvr.models.forward import answer_logits, batches
from pcvr.utils.checks import check_seed

if TYPE_CHECKING:
    from pcvr.models.vlm import VisionLanguageModel

ORDERS = ("most attention first", "at random", "least attention first")
_BATCH_SIZE = 64


def cover(image: Image, grid: tuple[int, int], cells: Sequence[int] | np.ndarray) -> Image:
    """Paint some cells of a grid over `image` in its mean colour, in a copy.

    Args:
        image: uint8 ``[H, W, 3]``.
        grid: cells down and across.
        cells: numbers of the cells to cover, in reading order from 0.

    Raises:
        PcvrError: the grid has no such cell.
    """
    down, across = grid
    chosen = np.asarray(cells, dtype=int).reshape(-1)
    if ((chosen < 0) | (chosen >= down * across)).any():
        raise PcvrError(
            f"cells {chosen.tolist()} are not all in a grid of {down} by {across}: give 0 to {down * across - 1}."
        )
    covered, filling = image.copy(), image.mean((0, 1)).round()
    rows, columns = (
        np.linspace(0, side, parts + 1).round().astype(int) for side, parts in zip(image.shape[:2], grid, strict=True)
    )
    for cell in chosen:
        row, column = divmod(int(cell), across)
        covered[rows[row] : rows[row + 1], columns[column] : columns[column + 1]] = filling
    return covered


def word_probabilities(
    vlm: VisionLanguageModel, images: Sequence[Image], prompt: str, answer: str, token: int
) -> np.ndarray:
    """Return the probability of one token of an answer on each of N images, given the words before it: ``[N]``.

    Raises:
        PcvrError: there is no such token.
    """
    rows = encode_samples(vlm, [Sample(str(i), each, prompt, answer) for i, each in enumerate(images)])
    found = []
    with torch.inference_mode():
        for part in batches(len(rows), _BATCH_SIZE):
            packed = answer_logits(vlm, collate([rows[i] for i in part], vlm.tokenizer.pad_token_id))
            length = len(packed.targets) // packed.samples
            if not 0 <= token < length:
                raise PcvrError(f"token {token} is outside an answer of {length} tokens: give 0 to {length - 1}.")
            likelihood = packed.logits.softmax(-1).gather(1, packed.targets[:, None])
            found.append(likelihood.view(packed.samples, length)[:, token].cpu().numpy())
    return np.concatenate(found)


def occlusion_map(
    vlm: VisionLanguageModel, seen: Attention, token: int, share: float = 0.4, draws: int = 192, seed: int = 0
) -> np.ndarray:
    """Return what each cell of the image adds to the probability of one word: ``[down, across]``, -1 to 1.

    The model reads many images with random cells covered. A cell's value is the word's mean probability on images that
    show the cell, minus that on images that cover it. Random covers are RISE's idea (Petsiuk, Das and Saenko, arXiv
    1806.07421); the difference of two means is our choice. A value below 0 speaks against the word.

    Args:
        vlm: the model.
        seen: from `pcvr.analysis.attention.attend`.
        token: position in the answer; the words before it are given.
        share: fraction of the cells covered in each image, in (0, 1).
        draws: number of images.
        seed: of the covers.

    Raises:
        PcvrError: the share covers all or nothing, or too few draws left a cell always or never covered.
    """
    cells = seen.grid[0] * seen.grid[1]
    size = round(share * cells)
    if not 0 < size < cells:
        raise PcvrError(
            f"share {share} covers {size} of {cells} cells: give a share that covers some cells and leaves some."
        )
    check_seed(seed)
    rng = np.random.default_rng(seed)
    covered = np.zeros((draws, cells), dtype=bool)
    for row in covered:
        row[rng.permutation(cells)[:size]] = True
    if (covered.all(0) | ~covered.any(0)).any():
        raise PcvrError(f"with {draws} draws a cell was always or never covered: give more draws, such as {8 * cells}.")
    images = [cover(seen.image, seen.grid, np.flatnonzero(row)) for row in covered]
    p = word_probabilities(vlm, images, seen.steps.prompt, seen.steps.text, token)[:, None]
    gain = np.average(p * np.ones(cells), 0, ~covered) - np.average(p * np.ones(cells), 0, covered)
    return np.asarray(gain.reshape(seen.grid))


def covering_curves(
    vlm: VisionLanguageModel,
    seen: Sequence[Attention],
    counts: Sequence[int],
    seed: int = 0,
    token_of: Callable[[Sequence[str]], int] | None = None,
) -> Mapping[str, np.ndarray]:
    """Return the probability of a word as more and more cells are covered, in three orders.

    Args:
        vlm: the model.
        seen: from `pcvr.analysis.attention.attend`, one for each of N images.
        counts: number of covered cells at each of K points.
        seed: of the random order.
        token_of: the answer's tokens -> the position of the word; by default `naming_token`.

    Returns:
        Each of `ORDERS` to ``[N, K]``.

    Raises:
        PcvrError: there is no image, or a count exceeds the cells.
    """
    if not seen:
        raise PcvrError("there are no images to cover: give at least one.")
    fewest = min(each.grid[0] * each.grid[1] for each in seen)
    if not all(0 <= count <= fewest for count in counts):
        raise PcvrError(f"{list(counts)} cells cannot all be covered: a map has {fewest}, so give 0 to {fewest}.")
    check_seed(seed)
    rng = np.random.default_rng(seed)
    found = []
    for each in seen:
        token = (token_of or naming_token)(each.steps.tokens)
        rising = np.argsort(each.map(token).ravel(), kind="stable")
        orders = (rising[::-1], rng.permutation(len(rising)), rising)  # as in ORDERS
        images = [cover(each.image, each.grid, order[:count]) for order in orders for count in counts]
        p = word_probabilities(vlm, images, each.steps.prompt, each.steps.text, token)
        found.append(p.reshape(len(orders), len(counts)))
    return dict(zip(ORDERS, np.stack(found, axis=1), strict=True))


def agreement(one: np.ndarray, other: np.ndarray) -> float:
    """Return the correlation of two maps, -1 to 1; NaN if one of them is constant."""
    if np.ptp(one) == 0 or np.ptp(other) == 0:
        return float("nan")
    return float(np.corrcoef(one.ravel(), other.ravel())[0, 1])


def naming_token(tokens: Sequence[str]) -> int:
    """Return the position of the first kind of object in an answer, else of the first colour, else 0."""
    for names in (KINDS, COLORS):
        for place, token in enumerate(tokens):
            if token in names:
                return place
    return 0
