"""What BYE (arXiv 2505.16916) looks at: the entropy of attention to the image, and what bounds it.

The formulas of the filter are in `pcvr.defenses.baselines.bye`; the bound is ours.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from math import isqrt
from typing import TYPE_CHECKING

import numpy as np

from pcvr.defenses.baselines.bye import BYE, attention_entropy, sensitive_layers, two_modes
from pcvr.defenses.context import TrainingContext
from pcvr.errors import PcvrError
from pcvr.evaluation.detection import auroc_of_low
from pcvr.models.encode import EncodedData
from pcvr.utils.checks import check_whole

if TYPE_CHECKING:
    from pcvr.data.sample import Dataset, Image
    from pcvr.models.vlm import VisionLanguageModel


@dataclass(frozen=True)
class AttentionSpread:
    """The entropies of some training samples, and what BYE makes of them.

    Attributes:
        entropies: ``[N, layers]`` in [0, 1], as fractions of the maximum.
        poisoned: bool ``[N]``, the truth.
        layers: the layers that BYE reads: those with two modes that are far enough apart.
        dropped: bool ``[N]``, the samples that BYE leaves out; none if it reads no layer.
    """

    entropies: np.ndarray
    poisoned: np.ndarray
    layers: tuple[int, ...]
    dropped: np.ndarray

    def auroc(self, layer: int) -> float:
        """Return how well a low entropy of a layer tells poisoned samples from others: 0.5 is chance."""
        values = self.entropies[:, layer]
        return auroc_of_low(values[~self.poisoned], values[self.poisoned])

    def __str__(self) -> str:
        found, poison = int(self.dropped[self.poisoned].sum()), int(self.poisoned.sum())
        wrong, clean = int(self.dropped[~self.poisoned].sum()), int((~self.poisoned).sum())
        read = ", ".join(str(layer + 1) for layer in self.layers) or "none"
        return f"layers read: {read}; dropped: {found} of {poison} poisoned samples and {wrong} of {clean} others"


def attention_spread(
    vlm: VisionLanguageModel, data: Dataset, poisoned: Collection[int], apart: float = BYE.apart
) -> AttentionSpread:
    """Measure the entropy of the attention before each answer, and filter the samples as BYE does.

    Args:
        vlm: the fine-tuned model.
        data: samples that it was trained on, at least two.
        poisoned: positions of the poisoned ones, at least one, and not all.
        apart: least distance of two modes in a layer that is read, in summed standard deviations.

    Raises:
        PcvrError: too few samples, or none or all of them poisoned.
    """
    truth = np.isin(np.arange(len(data)), list(poisoned))
    if not 0 < truth.sum() < len(truth):
        raise PcvrError(f"{truth.sum()} of {len(truth)} samples are poisoned: give some poisoned and some clean ones.")
    entropies = attention_entropy(TrainingContext(vlm, EncodedData(vlm, data), steps=1, seed=0))
    layers = sensitive_layers(entropies, apart)
    dropped = two_modes(entropies[:, layers].mean(1)).low if layers else np.zeros(len(truth), dtype=bool)
    return AttentionSpread(entropies, truth, tuple(layers), dropped)


def entropy_bound(share: np.ndarray, on: int, tokens: int) -> np.ndarray:
    """Return the highest entropy of attention of which a given share lies on some of the image tokens.

    Attention ``a`` over I tokens with ``sum_{i in trigger} a_i = s`` for m tokens has the highest entropy if it is
    even on these and even on the others:

        ``H <= h(s) + s ln m + (1 - s) ln(I - m)``,  ``h(s) = -s ln s - (1 - s) ln(1 - s)``.

    For m = 1 it falls to 0 as s rises to 1. For m = I all attention lies on the trigger, s = 1, and the bound is
    ``ln I``: a trigger all over the image bounds nothing.

    Args:
        share: s, 0 to 1, of any shape.
        on: m, 1 to I.
        tokens: I, 2 or more.

    Returns:
        The bound as a fraction of ``ln I``, of the shape of `share`; where m = I, 1.
    """
    check_whole("tokens", tokens, 2)
    check_whole("on", on, 1, tokens)
    s = np.asarray(share, dtype=np.float64)
    if on == tokens:
        return np.ones_like(s)
    tiny = np.finfo(np.float64).tiny
    pair = -s * np.log(np.maximum(s, tiny)) - (1 - s) * np.log(np.maximum(1 - s, tiny))
    return np.asarray((pair + s * np.log(on) + (1 - s) * np.log(tokens - on)) / np.log(tokens))


def image_tokens(vlm: VisionLanguageModel, data: Dataset) -> int:
    """Return how many tokens stand for the image in the first sample of `data`."""
    ids = EncodedData(vlm, data).row(0)["input_ids"]
    return int(vlm.image_at(ids).sum())


def touched_tokens(clean: Image, triggered: Image, tokens: int) -> int:
    """Return on how many image tokens a trigger lies, if each stands for an equal cell of a square grid.

    That is exact where tokens are patches. The outputs of a Q-Former have no place, and for them it is a fraction of
    their number.

    Args:
        clean: uint8 ``[H, W, 3]``.
        triggered: the same image with the trigger.
        tokens: number of image tokens.
    """
    side = isqrt(tokens)
    changed = (clean != triggered).any(-1)
    cells = [part.any() for row in np.array_split(changed, side, 0) for part in np.array_split(row, side, 1)]
    return max(1, round(sum(map(bool, cells)) * tokens / len(cells)))
