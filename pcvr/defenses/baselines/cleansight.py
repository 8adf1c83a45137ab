"""After CleanSight (arXiv 2603.12989): at test time image tokens that draw too much attention are cut off.

The paper's, as far as its abstract and the description of its published code say: a trigger's image tokens steal
attention from the text. In the middle layers of the language model (10 to 24 of 32) every head has a ratio of attention
on image tokens to attention on text tokens. An input whose ratios lie further from those of about 200 clean samples
(whitened L2 distance) than 99 % of these is taken to be poisoned, and its image tokens with much attention (some head
gives more than 0.02) are cut off by a large negative bias on the attention logits. Nothing is trained.

Here ``a_lhj`` is what token j gets in head h of a middle layer l, mean over the text tokens behind the picture; with
image tokens I and text tokens W (all others but padding),

    r_lh = sum_{j in I} a_lhj / sum_{j in W} a_lhj,    d = sqrt( sum_lh ((r_lh - mean_lh) / sd_lh)^2 ),

mean and standard deviation over the clean samples. Ours: which text tokens look; whitening head by head, without
covariances; layers as shares of the depth; a fixed share of the image tokens is cut off, ranked by the most that any
chosen head gives them, since 0.02 means something else where there are 16 tokens instead of 576; they are masked in all
layers and heads, for the whole answer, and keep their positions; and the attention is read in a pass of its own.

Needs trusted clean samples (`calibrate`) and one forward pass with written-out attention for each picture. What it
cannot see: a trigger whose effect on the answer does not go through more attention on its tokens.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from pcvr.data.asked import Asked, picked
from pcvr.defenses.base import Defense, Generate, few_trusted
from pcvr.defenses.registry import register_defense
from pcvr.errors import PcvrError
from pcvr.models.attention_hooks import SplitBatch, mean_attention, without_tokens
from pcvr.models.budget import Costs, grouped
from pcvr.models.encode import prompt_batch, prompt_rows
from pcvr.utils.checks import check_fields, is_number

if TYPE_CHECKING:
    from pcvr.data.sample import Dataset
    from pcvr.defenses.base import Fit
    from pcvr.defenses.context import TrainingContext
    from pcvr.models.encode import Batch
    from pcvr.models.vlm import VisionLanguageModel

MOST = 64
"""Inputs that are looked at together at most."""


@dataclass(frozen=True)
class Calibration:
    """What `CleanSight` learns from trusted samples.

    Attributes:
        mean: float64 ``[F]``, of the attention ratios, one for each head of the chosen layers.
        spread: float64 ``[F]``, their standard deviations, above 0.
        threshold: distance above which an input is taken to be poisoned.
        distances: float64 ``[N]``, of the trusted samples.
    """

    mean: np.ndarray
    spread: np.ndarray
    threshold: float
    distances: np.ndarray

    def __post_init__(self) -> None:
        check_fields(self)


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
@dataclass(frozen=True)
class CleanSight(Defense):
    """Plain fine-tuning; at test time inputs with abnormal attention are answered without what draws it."""

    name: ClassVar[str] = "cleansight"
    needs_clean: ClassVar[bool] = True
    layers: tuple[float, float] = field(
        default=(0.3, 0.78), metadata={"help": "middle layers, as shares of the depth (paper: 10 to 24 of 32)"}
    )
    false_alarms: float = field(
        default=0.01, metadata={"help": "share of trusted samples above the threshold, in (0, 1) (paper: 1 %)"}
    )
    share: float = field(default=0.2, metadata={"help": "share of the image tokens that is cut off, in (0, 1) (ours)"})

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("false_alarms", "share"):
            value = getattr(self, name)
            if not is_number(value) or not 0 < value < 1:
                raise PcvrError(f"{name} must lie in (0, 1), got {value!r}.")
        two = isinstance(self.layers, tuple | list) and len(self.layers) == 2 and all(map(is_number, self.layers))
        if not two or not 0 <= self.layers[0] < self.layers[1] <= 1:
            raise PcvrError(f"layers must be two rising shares of the depth from 0 to 1, got {self.layers!r}.")

    def train(self, run: TrainingContext, fit: Fit) -> None:
        """Plain training, then the calibration on ``run.clean``, which goes into ``run.state``."""
        fit()
        if run.clean is None:
            raise PcvrError(f"defence {self.name!r} needs clean data: give finetune(clean=...) some trusted samples.")
        run.state.update(self.calibrate(run.vlm, run.clean.data))

    def notes(self, run: TrainingContext) -> tuple[str, ...]:
        """Whether trusted samples were too few for the threshold."""
        known = run.state.get(self.name)  # nothing, where the training was stopped
        return () if known is None else few_trusted(self.name, len(known.distances), self.false_alarms)

    def calibrate(self, vlm: VisionLanguageModel, clean: Dataset) -> dict[str, Any]:
        """Set mean, spread and threshold for a model that is trained already.

        Args:
            vlm: the model.
            clean: trusted samples, at least two (paper: about 200); their answers are not used.

        Returns:
            What `answer` and `pcvr.evaluate` take as ``state``.

        Raises:
            PcvrError: fewer than two samples, or no attention to read.
        """
        if len(clean) < 2:
            raise PcvrError(
                f"clean has {len(clean)} samples: a spread needs at least 2, and some hundred to be of use."
            )
        asked = Asked(clean, keep_bytes=0)
        ratios = self._ratios(vlm, asked.images, asked.prompts)
        mean, spread = ratios.mean(0), np.maximum(ratios.std(0), 1e-6)
        found = whitened_distance(ratios, mean, spread)
        return {self.name: Calibration(mean, spread, float(np.quantile(found, 1 - self.false_alarms)), found)}

    def answer(
        self,
        vlm: VisionLanguageModel,
        images: Sequence[Any],
        prompts: Sequence[str],
        generate: Generate,
        state: Mapping[str, Any] | None = None,
    ) -> list[str]:
        """The model's answers; to inputs with abnormal attention without their most attended image tokens.

        Raises:
            PcvrError: no calibration in `state`, or one of another model.
        """
        known = self._known(state)
        suspect = np.flatnonzero(self.distances(vlm, images, prompts, state) > known.threshold).tolist()
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
        """Answers without the most attended image tokens; in halves where `generate` takes fewer at a time."""
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
        """How far each input's attention ratios lie from those of clean samples: ``[N]``, 0 or more.

        Raises:
            PcvrError: no calibration in `state`, or one of another model.
        """
        known = self._known(state)
        ratios = self._ratios(vlm, images, prompts)
        if len(ratios) and ratios.shape[1] != len(known.mean):
            raise PcvrError(
                f"state is of a model with {len(known.mean)} heads in the chosen layers, this one has "
                f"{ratios.shape[1]}: calibrate the model that answers."
            )
        return whitened_distance(ratios, known.mean, known.spread)

    def look(self, vlm: VisionLanguageModel, images: Sequence[Any], prompts: Sequence[str]) -> AttentionReadout:
        """Read what the text behind the pictures attends to; all N inputs in one batch.

        Raises:
            PcvrError: the language model hands out no attention.
        """
        return self._look(vlm, [row for _, row in prompt_rows(vlm, images, prompts)])

    @torch.inference_mode()
    def _look(self, vlm: VisionLanguageModel, rows: Sequence[Batch]) -> AttentionReadout:
        vlm.model.eval()
        inputs = prompt_batch(vlm, rows)
        image = inputs["input_ids"] == vlm.base.config.image_token_id
        text = (inputs["attention_mask"] > 0) & ~image
        behind = text & (image.cumsum(1) == image.sum(1, keepdim=True))
        with mean_attention(vlm, self.layers, behind) as seen:
            vlm.model(**inputs, use_cache=False)
        if not seen:
            raise PcvrError(f"the language model of {vlm.name!r} hands out no attention in the layers {self.layers}.")
        weights = torch.cat(seen, dim=1)  # [N, F, T]
        return AttentionReadout(attention_ratios(weights, image, text), most_attended(weights, image, self.share))

    def _ratios(self, vlm: VisionLanguageModel, images: Sequence[Any], prompts: Sequence[str]) -> np.ndarray:
        found = [self._look(vlm, [row for _, row in group]).ratios for group in self._groups(vlm, images, prompts)]
        return np.concatenate(found) if found else np.zeros((0, 1))

    def _groups(
        self, vlm: VisionLanguageModel, images: Sequence[Any], prompts: Sequence[str]
    ) -> Iterator[list[tuple[int, Batch]]]:
        """Places and encoded prompts, as many at a time as the memory holds with written-out attention."""
        costs = replace(Costs.of(vlm), eager=True)
        rows = prompt_rows(vlm, images, prompts)
        return grouped(rows, lambda each: costs.reading(each[1], len(each[1]["input_ids"])), MOST, vlm.device)

    def _known(self, state: Mapping[str, Any] | None) -> Calibration:
        known = None if state is None else state.get(self.name)
        if not isinstance(known, Calibration):
            raise PcvrError(
                f"defence {self.name!r} is not calibrated: give state=rule.calibrate(vlm, clean), or the run.state "
                "that a fine-tuning with it has."
            )
        return known


def attention_ratios(weights: Tensor, image: Tensor, text: Tensor) -> np.ndarray:
    """Attention on image tokens over attention on text tokens.

    Args:
        weights: ``[N, F, T]``, rows that sum to 1.
        image: bool ``[N, T]``.
        text: bool ``[N, T]``.

    Returns:
        float64 ``[N, F]``, 0 or more; text that gets less than 1e-6 counts as that.
    """
    on_image = (weights.double() * image[:, None]).sum(-1)
    on_text = (weights.double() * text[:, None]).sum(-1)
    return np.asarray((on_image / on_text.clamp_min(1e-6)).cpu().numpy())


def most_attended(weights: Tensor, image: Tensor, share: float) -> Tensor:
    """Of each input's image tokens the `share`, at least one, to which some head gives most; arguments as above.

    Returns:
        bool ``[N, T]``.
    """
    most = weights.amax(1).masked_fill(~image, -1.0)  # [N, T]
    rank = most.argsort(dim=1, descending=True, stable=True).argsort(dim=1)
    count = (share * image.sum(1)).round().clamp_min(1)
    return (rank < count[:, None]) & image


def whitened_distance(ratios: np.ndarray, mean: np.ndarray, spread: np.ndarray) -> np.ndarray:
    """``sqrt(sum_f ((r_f - mean_f) / spread_f)^2)``: ``[N, F]``, ``[F]``, ``[F]`` -> ``[N]``."""
    return np.asarray(np.sqrt((((ratios - mean) / spread) ** 2).sum(1)))
