"""CleanSight style (after arXiv 2603.12989): at test time, cut off image tokens that draw too much attention.

Stated by the paper, as far as its abstract and the description of its published code say: the image tokens of a trigger
take attention away from the text. In the middle layers of the language model (10 to 24 of 32), each head has a ratio of
attention on image tokens to attention on text tokens. An input counts as triggered if its ratios are further from those
of about 200 clean samples (whitened L2 distance) than 99 % of these. Its image tokens that some head gives more than
0.02 are then cut off by a large negative bias on the attention logits. Nothing is trained.

Here ``a_lhj`` is what token j gets in head h of a middle layer l, mean over the text tokens after the image. With image
tokens I and text tokens W (all others but padding),

    r_lh = sum_{j in I} a_lhj / sum_{j in W} a_lhj,    d = sqrt( sum_lh ((r_lh - mean_lh) / sd_lh)^2 ),

with mean and standard deviation over the clean samples.

We call it "CleanSight style", and its figures are not those of CleanSight: the tokens whose attention is read are
another set than in the public code. Here all text tokens after the image are read, and all text tokens stand in the
ratio. Ours too: whitening head by head, without covariances; layers as fractions of the depth; and the cut. A fixed
fraction of the image tokens is cut off, ranked by the most that any chosen head gives them, since 0.02 means something
else with 16 tokens than with 576. These tokens are masked in all layers and heads, for the whole answer, and keep their
positions. A separate pass reads the attention.

Needs trusted clean samples (`calibrate`) and one forward pass with written-out attention for each image. Its limit: a
trigger that changes the answer without drawing more attention to its tokens.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from pcvr.data.asked import Asked, picked
from pcvr.defenses.calibrated import CalibratedDefense, Calibration, in_batches
from pcvr.defenses.registry import register_defense
from pcvr.errors import PcvrError
from pcvr.models.attention_hooks import SplitBatch, mean_attention, without_tokens
from pcvr.models.encode import prompt_batch, prompt_rows
from pcvr.utils.checks import is_number
from pcvr.utils.renamed import accepts_old_names

if TYPE_CHECKING:
    from pcvr.data.sample import Dataset
    from pcvr.defenses.base import Generate
    from pcvr.models.encode import Batch
    from pcvr.models.vlm import VisionLanguageModel


@accepts_old_names
@dataclass(frozen=True)
class CleanSightCalibration(Calibration):
    """What `CleanSight` learns from trusted samples; the scores are distances, 0 or more.

    Attributes:
        mean: float64 ``[F]``, of the attention ratios, one for each head of the chosen layers.
        spread: float64 ``[F]``, their standard deviations, above 0.
    """

    RENAMED: ClassVar[Mapping[str, str]] = {"distances": "scores"}
    mean: np.ndarray
    spread: np.ndarray


@dataclass(frozen=True)
class AttentionReadout:
    """What the text of N inputs attends to in the chosen layers.

    Attributes:
        ratios: float64 ``[N, F]``, attention on image tokens over attention on text tokens, one a head.
        pruned: bool ``[N, T]`` over the left-padded prompt, the image tokens that would be cut off.
    """

    ratios: np.ndarray
    pruned: Tensor


@register_defense
@accepts_old_names
@dataclass(frozen=True)
class CleanSight(CalibratedDefense[CleanSightCalibration]):
    """CleanSight style: plain fine-tuning; inputs with abnormal attention are answered without the tokens that draw it.

    It reads another set of tokens than CleanSight's public code, see the module.
    """

    name: ClassVar[str] = "cleansight"
    kept: ClassVar[type[Calibration]] = CleanSightCalibration
    RENAMED: ClassVar[Mapping[str, str]] = {"share": "fraction"}
    layers: tuple[float, float] = field(
        default=(0.3, 0.78), metadata={"help": "middle layers, as fractions of the depth (paper: 10 to 24 of 32)"}
    )
    false_alarms: float = field(
        default=0.01, metadata={"help": "fraction of trusted samples above the threshold, in (0, 1) (paper: 1 %)"}
    )
    fraction: float = field(
        default=0.2, metadata={"help": "fraction of the image tokens that is cut off, in (0, 1) (ours)"}
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        self.check_fractions("false_alarms", "fraction")
        two = isinstance(self.layers, tuple | list) and len(self.layers) == 2 and all(map(is_number, self.layers))
        if not two or not 0 <= self.layers[0] < self.layers[1] <= 1:
            raise PcvrError(f"layers must be two rising fractions of the depth from 0 to 1, got {self.layers!r}.")

    @property
    def false_positive_rate(self) -> float:
        """Fraction of the trusted samples that count as triggered, in (0, 1)."""
        return self.false_alarms

    def learn(self, vlm: VisionLanguageModel, clean: Dataset) -> tuple[np.ndarray, dict[str, Any]]:
        """Return the distances of trusted samples, ``[N]``, with the mean and spread of their attention ratios."""
        asked = Asked(clean, keep_bytes=0)
        ratios = self._ratios(vlm, asked.images, asked.prompts)
        mean, spread = ratios.mean(0), np.maximum(ratios.std(0), 1e-6)
        return whitened_distance(ratios, mean, spread), {"mean": mean, "spread": spread}

    def respond(
        self,
        vlm: VisionLanguageModel,
        images: Sequence[Any],
        prompts: Sequence[str],
        generate: Generate,
        known: CleanSightCalibration,
    ) -> list[str]:
        """Return the model's answers; inputs with abnormal attention lose their most attended image tokens."""
        suspect = np.flatnonzero(self._distances(vlm, images, prompts, known) > known.threshold).tolist()
        plain = sorted(set(range(len(images))) - set(suspect))
        said = dict(zip(plain, generate(vlm, picked(images, plain), picked(prompts, plain)), strict=True))
        for group in self._groups(vlm, picked(images, suspect), picked(prompts, suspect)):
            chosen = [suspect[k] for k, _ in group]
            texts = self._pruned(vlm, picked(images, chosen), picked(prompts, chosen), generate)
            said |= dict(zip(chosen, texts, strict=True))
        return [said[i] for i in range(len(images))]

    def _pruned(
        self, vlm: VisionLanguageModel, images: Sequence[Any], prompts: Sequence[str], generate: Generate
    ) -> list[str]:
        """Answer without the most attended image tokens; in halves where `generate` takes fewer at a time."""
        try:
            with without_tokens(vlm, self.look(vlm, images, prompts).pruned):
                return generate(vlm, images, prompts)
        except SplitBatch:
            if len(images) == 1:
                raise
        halves = (range(len(images) // 2), range(len(images) // 2, len(images)))
        return [t for h in halves for t in self._pruned(vlm, picked(images, h), picked(prompts, h), generate)]

    def distances(
        self, vlm: VisionLanguageModel, images: Sequence[Any], prompts: Sequence[str], state: Mapping[str, Any] | None
    ) -> np.ndarray:
        """Return how far each input's attention ratios are from those of clean samples: ``[N]``, 0 or more.

        Raises:
            PcvrError: no calibration in `state`, or one of another model.
        """
        return self._distances(vlm, images, prompts, self.calibration(state))

    def _distances(
        self, vlm: VisionLanguageModel, images: Sequence[Any], prompts: Sequence[str], known: CleanSightCalibration
    ) -> np.ndarray:
        ratios = self._ratios(vlm, images, prompts)
        if len(ratios) and ratios.shape[1] != len(known.mean):
            raise PcvrError(
                f"state is of a model with {len(known.mean)} heads in the chosen layers, this one has "
                f"{ratios.shape[1]}: calibrate the model that answers."
            )
        return whitened_distance(ratios, known.mean, known.spread)

    def look(self, vlm: VisionLanguageModel, images: Sequence[Any], prompts: Sequence[str]) -> AttentionReadout:
        """Read what the text after the images attends to; all N inputs in one batch.

        Raises:
            PcvrError: the language model returns no attention.
        """
        return self._look(vlm, [row for _, row in prompt_rows(vlm, images, prompts)])

    @torch.inference_mode()
    def _look(self, vlm: VisionLanguageModel, rows: Sequence[Batch]) -> AttentionReadout:
        vlm.model.eval()
        inputs = prompt_batch(vlm, rows)
        image = vlm.image_at(inputs["input_ids"])
        text = (inputs["attention_mask"] > 0) & ~image
        behind = text & (image.cumsum(1) == image.sum(1, keepdim=True))
        with mean_attention(vlm, self.layers, behind) as seen:
            vlm.model(**inputs, use_cache=False)
        if not seen:
            raise PcvrError(f"the language model of {vlm.name!r} hands out no attention in the layers {self.layers}.")
        weights = torch.cat(seen, dim=1)  # [N, F, T]
        return AttentionReadout(attention_ratios(weights, image, text), most_attended(weights, image, self.fraction))

    def _ratios(self, vlm: VisionLanguageModel, images: Sequence[Any], prompts: Sequence[str]) -> np.ndarray:
        found = [self._look(vlm, [row for _, row in group]).ratios for group in self._groups(vlm, images, prompts)]
        return np.concatenate(found) if found else np.zeros((0, 1))

    def _groups(
        self, vlm: VisionLanguageModel, images: Sequence[Any], prompts: Sequence[str]
    ) -> Iterator[list[tuple[int, Batch]]]:
        """Yield positions and encoded prompts, as many at a time as the memory holds with written-out attention."""
        return in_batches(vlm, prompt_rows(vlm, images, prompts), eager=True)


def attention_ratios(weights: Tensor, image: Tensor, text: Tensor) -> np.ndarray:
    """Return attention on image tokens over attention on text tokens.

    Args:
        weights: ``[N, F, T]``, rows that sum to 1.
        image: bool ``[N, T]``.
        text: bool ``[N, T]``.

    Returns:
        float64 ``[N, F]``, 0 or more; text attention below 1e-6 counts as 1e-6.
    """
    on_image = (weights.double() * image[:, None]).sum(-1)
    on_text = (weights.double() * text[:, None]).sum(-1)
    return np.asarray((on_image / on_text.clamp_min(1e-6)).cpu().numpy())


def most_attended(weights: Tensor, image: Tensor, fraction: float) -> Tensor:
    """Return the given fraction of each input's image tokens, at least one, that some head attends to most.

    Args:
        weights: ``[N, F, T]``, rows that sum to 1.
        image: bool ``[N, T]``.
        fraction: in (0, 1).

    Returns:
        bool ``[N, T]``.
    """
    most = weights.amax(1).masked_fill(~image, -1.0)  # [N, T]
    rank = most.argsort(dim=1, descending=True, stable=True).argsort(dim=1)
    count = (fraction * image.sum(1)).round().clamp_min(1)
    return (rank < count[:, None]) & image


def whitened_distance(ratios: np.ndarray, mean: np.ndarray, spread: np.ndarray) -> np.ndarray:
    """Return ``sqrt(sum_f ((r_f - mean_f) / spread_f)^2)``: ``[N, F]``, ``[F]``, ``[F]`` -> ``[N]``."""
    return np.asarray(np.sqrt((((ratios - mean) / spread) ** 2).sum(1)))
