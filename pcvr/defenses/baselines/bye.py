"""Believe Your Eyes (arXiv 2505.16916): drop the samples whose attention collapses, and train again."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import torch
from torch import Tensor

from pcvr.defenses.base import Defense, Fit
from pcvr.defenses.filtering import attention_before_answers, enough_samples, few_samples, train_without
from pcvr.defenses.pcvr.gate import Gate
from pcvr.defenses.registry import register_defense
from pcvr.utils.checks import check_number

if TYPE_CHECKING:
    from pcvr.defenses.context import TrainingContext
    from pcvr.models.encode import Batch


@register_defense
@dataclass(frozen=True)
class BYE(Defense):
    """Fine-tune on everything, drop the samples whose attention to the image is abnormally concentrated, retrain.

    Rong et al. 2025 find that a trigger draws the attention to itself ("attention collapse"). For each training sample
    and each layer ``l`` of the language model, let ``a`` be the attention from the last token of the prompt (which
    predicts the first token of the answer) to the image tokens, averaged over heads and divided by its sum. Its entropy
    is

        ``H_l = -sum_i a_i ln a_i``

    A layer is sensitive if two Gaussians fitted to its ``H_l`` over all samples are well apart,
    ``|m1 - m2| > apart (s1 + s2)`` with ``apart = 2`` as in the authors' code. A sample's score is its mean entropy
    over the sensitive layers; a mixture of two Gaussians splits the scores, and the samples of the lower one are
    dropped. The model is then trained again from the start on what is kept.

    What differs: entropies are divided by ``ln I``, their maximum with ``I`` image tokens. So images with different
    numbers of tiles can be compared; if all have the same number, this changes no decision. Each mixture is the best of
    five starts on standardised values, since a single start easily misses a rare cluster. If no layer is sensitive,
    nothing is dropped and the first model is kept: training again on the same data would give the same model. BLIP-2's
    image tokens are the outputs of its queries and have no position in the image; the entropy needs none.

    Needs no clean data, but a second training and a pass over the data. ``run.state`` gets ``entropies``
    ``[N, layers]``, ``layers`` (the sensitive ones), ``kept`` (indices) and, where there was a split, an entry in
    ``scorings``.

    Attributes:
        apart: least distance of the two means in a sensitive layer, in summed standard deviations, above 0.
    """

    name: ClassVar[str] = "bye"
    apart: float = field(default=2.0, metadata={"help": "summed deviations between two modes (authors' code: 2)"})

    def __post_init__(self) -> None:
        super().__post_init__()
        check_number("apart", self.apart, 0, 1e6, above=True)

    @property
    def starts_plain(self) -> bool:
        """See `Defense.starts_plain`."""
        return True

    def begin(self, run: TrainingContext) -> None:
        """Check the data before the training.

        Raises:
            PcvrError: fewer samples than a mixture has components.
        """
        enough_samples(self.name, len(run.data))
        run.state["scorings"] = []

    def train(self, run: TrainingContext, fit: Fit) -> None:
        """Fine-tune, filter, and train again if anything was dropped."""
        fit()
        entropies = attention_entropy(run)
        layers = sensitive_layers(entropies, self.apart)
        run.state.update(entropies=entropies, layers=layers, kept=list(range(len(run.data))))
        if not layers:
            return
        scores = entropies[:, layers].mean(1)
        split = two_modes(scores)
        gate = Gate(split.low * 1.0, split.pooled, float(split.low.mean()), True)
        train_without(run, fit, split.low, gate, scores)

    def notes(self, run: TrainingContext) -> tuple[str, ...]:
        """Say whether samples were few, and whether nothing was dropped."""
        found = [*few_samples(self.name, len(run.data), "two modes where there is one")]
        if run.state.get("layers") == []:
            found.append(
                "Defence 'bye' found no layer whose attention has two modes and dropped no sample: that is correct if "
                "no sample is poisoned; otherwise attention does not show which are."
            )
        return tuple(found)


@dataclass(frozen=True)
class Modes:
    """Two Gaussians fitted to values.

    Attributes:
        means: the lower one first.
        spreads: their standard deviations.
        low: bool ``[N]``, the values that the lower one explains better.
    """

    means: tuple[float, float]
    spreads: tuple[float, float]
    low: np.ndarray

    @property
    def apart(self) -> float:
        """Distance of the means in summed standard deviations; 0 if all values are equal."""
        return (self.means[1] - self.means[0]) / sum(self.spreads) if sum(self.spreads) else 0.0

    @property
    def pooled(self) -> float:
        """Distance of the means in pooled standard deviations."""
        fraction = float(self.low.mean())
        spread = np.sqrt(fraction * self.spreads[0] ** 2 + (1 - fraction) * self.spreads[1] ** 2)
        return float((self.means[1] - self.means[0]) / spread) if spread else 0.0


def two_modes(values: np.ndarray) -> Modes:
    """Fit two Gaussians to `values` ``[N]``.

    Raises:
        PcvrError: fewer values than Gaussians.
    """
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.mixture import GaussianMixture

    values = np.asarray(values, dtype=np.float64)
    enough_samples(BYE.name, len(values))
    centre, scale = float(values.mean()), float(values.std())
    if scale <= 1e-9 * max(1.0, abs(centre)):
        return Modes((centre, centre), (0.0, 0.0), np.zeros(len(values), dtype=bool))
    standard = ((values - centre) / scale)[:, None]
    with warnings.catch_warnings():
        # Without two clusters the fit may not converge; its result is then not bimodal.
        warnings.simplefilter("ignore", ConvergenceWarning)
        mixture = GaussianMixture(2, n_init=5, max_iter=500, random_state=0).fit(standard)
        labels = mixture.predict(standard)
    means = centre + scale * mixture.means_[:, 0]
    spreads = scale * np.sqrt(mixture.covariances_[:, 0, 0])
    order = np.argsort(means)
    low, high = (int(i) for i in order)
    return Modes(
        (float(means[low]), float(means[high])), (float(spreads[low]), float(spreads[high])), np.asarray(labels == low)
    )


def sensitive_layers(entropies: np.ndarray, apart: float) -> list[int]:
    """Return the layers whose entropies ``[N, layers]`` have two modes more than `apart` summed deviations apart."""
    return [layer for layer in range(entropies.shape[1]) if two_modes(entropies[:, layer]).apart > apart]


def attention_entropy(run: TrainingContext, batch_size: int | None = None) -> np.ndarray:
    """Return the entropy of the attention to the image before the answer, for every training sample and layer.

    Returns:
        float64 ``[N, layers]`` in ``[0, 1]``: 1 if all image tokens get the same attention, 0 if one gets all.
        Arguments and errors as of `attention_before_answers`.
    """

    def entropies(batch: Batch, _last: Tensor, layers: list[Tensor]) -> Tensor:
        shown = run.vlm.image_at(batch["input_ids"])
        return torch.stack([spread_over(each.mean(1), shown) for each in layers], 1)

    return attention_before_answers(run, BYE.name, entropies, batch_size)


def spread_over(attention: Tensor, there: Tensor) -> Tensor:
    """Return the entropy of attention rows over some of the tokens, as a fraction of its maximum.

    Args:
        attention: ``[B, T]``, 0 or more.
        there: bool ``[B, T]``, the tokens that count; each row is divided by its sum over them.

    Returns:
        ``[B]`` in ``[0, 1]``; 0 if at most one token counts or no token has any attention.
    """
    weights = attention.float() * there
    weights = weights / weights.sum(-1, keepdim=True).clamp_min(1e-12)
    most = there.sum(-1).clamp_min(2).float().log()
    return -torch.xlogy(weights, weights).sum(-1) / most
