"""What matters, asked of the model itself: cover parts of a picture, and see what becomes of a word's probability.

An attention map says where a model looked. Whether it needed what lies there is another question, answered here.
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
BATCH = 64


def cover(picture: Image, grid: tuple[int, int], cells: Sequence[int] | np.ndarray) -> Image:
    """A copy of `picture` with some cells of a grid painted in its mean colour.

    Args:
        picture: uint8 ``[H, W, 3]``.
        grid: cells down and across.
        cells: numbers of the cells to cover, in reading order from 0.

    Raises:
        PcvrError: a cell that there is not.
    """
    down, across = grid
    chosen = np.asarray(cells, dtype=int).reshape(-1)
    if ((chosen < 0) | (chosen >= down * across)).any():
        raise PcvrError(
            f"cells {chosen.tolist()} are not all in a grid of {down} by {across}: give 0 to {down * across - 1}."
        )
    covered = picture.copy()
    rows, columns = (
        np.linspace(0, side, parts + 1).round().astype(int) for side, parts in zip(picture.shape[:2], grid, strict=True)
    )
    for cell in chosen:
        row, column = divmod(int(cell), across)
        covered[rows[row] : rows[row + 1], columns[column] : columns[column + 1]] = picture.mean((0, 1)).round()
    return covered


def word_probabilities(
    vlm: VisionLanguageModel, pictures: Sequence[Image], prompt: str, answer: str, token: int
) -> np.ndarray:
    """The probability of one token of an answer on each of N pictures, the words before it given: ``[N]``.

    Raises:
        PcvrError: the answer has no such token.
    """
    rows = encode_samples(vlm, [Sample(str(i), each, prompt, answer) for i, each in enumerate(pictures)])
    found = []
    with torch.inference_mode():
        for part in batches(len(rows), BATCH):
            packed = answer_logits(vlm, collate([rows[i] for i in part], vlm.tokenizer.pad_token_id))
            length = len(packed.targets) // packed.samples
            if not 0 <= token < length:
                raise PcvrError(f"token {token} is outside an answer of {length} tokens: give 0 to {length - 1}.")
            right = packed.logits.softmax(-1).gather(1, packed.targets[:, None])
            found.append(right.view(packed.samples, length)[:, token].cpu().numpy())
    return np.concatenate(found)


def occlusion_map(
    vlm: VisionLanguageModel, seen: Attention, token: int, share: float = 0.4, draws: int = 192, seed: int = 0
) -> np.ndarray:
    """What each cell of the picture does for one word: ``[down, across]``, in probability, -1 to 1.

    Many pictures with cells covered at random are read; a cell's value is the word's mean probability where the cell is
    left open, less that where it is covered. A map from random covers is RISE's idea (Petsiuk, Das and Saenko, arXiv
    1806.07421); the difference of two means is our choice. Below 0 stands what speaks against the word.

    Args:
        vlm: the model.
        seen: from `pcvr.analysis.attention.attend`.
        token: position in the answer; the words before it are given.
        share: share of the cells that are covered in each picture, in (0, 1).
        draws: how many pictures.
        seed: of the covers.

    Raises:
        PcvrError: a share that covers all or nothing, or so few draws that a cell was never open or never covered.
    """
    cells = seen.grid[0] * seen.grid[1]
    size = round(share * cells)
    if not 0 < size < cells:
        raise PcvrError(
            f"share {share} covers {size} of {cells} cells: give a share that leaves some open and some not."
        )
    check_seed(seed)
    rng = np.random.default_rng(seed)
    covered = np.zeros((draws, cells), dtype=bool)
    for row in covered:
        row[rng.permutation(cells)[:size]] = True
    if (covered.all(0) | ~covered.any(0)).any():
        raise PcvrError(f"with {draws} draws a cell was always or never covered: give more draws, such as {8 * cells}.")
    pictures = [cover(seen.picture, seen.grid, np.flatnonzero(row)) for row in covered]
    p = word_probabilities(vlm, pictures, seen.steps.prompt, seen.steps.text, token)[:, None]
    gain = np.average(p * np.ones(cells), 0, ~covered) - np.average(p * np.ones(cells), 0, covered)
    return np.asarray(gain.reshape(seen.grid))


def covering_curves(
    vlm: VisionLanguageModel,
    seen: Sequence[Attention],
    counts: Sequence[int],
    seed: int = 0,
    token_of: Callable[[Sequence[str]], int] | None = None,
) -> Mapping[str, np.ndarray]:
    """A word's probability as more and more cells are covered, in three orders.

    Args:
        vlm: the model.
        seen: from `pcvr.analysis.attention.attend`, one for each of N pictures.
        counts: how many cells are covered at each of K points.
        seed: of the random order.
        token_of: the answer's tokens -> the position of the word to watch; by default `naming_token`.

    Returns:
        Each of `ORDERS` to ``[N, K]``.

    Raises:
        PcvrError: no picture, or more cells to cover than there are.
    """
    if not seen:
        raise PcvrError("there are no pictures to cover: give at least one.")
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
        pictures = [cover(each.picture, each.grid, order[:count]) for order in orders for count in counts]
        p = word_probabilities(vlm, pictures, each.steps.prompt, each.steps.text, token)
        found.append(p.reshape(len(orders), len(counts)))
    return dict(zip(ORDERS, np.stack(found, axis=1), strict=True))


def agreement(one: np.ndarray, other: np.ndarray) -> float:
    """The correlation of two maps, -1 to 1; nan where one of them is the same everywhere."""
    if np.ptp(one) == 0 or np.ptp(other) == 0:
        return float("nan")
    return float(np.corrcoef(one.ravel(), other.ravel())[0, 1])


def naming_token(tokens: Sequence[str]) -> int:
    """The first token of an answer that names a kind of object, else a colour, else the first one of all."""
    for names in (KINDS, COLORS):
        for place, token in enumerate(tokens):
            if token in names:
                return place
    return 0
