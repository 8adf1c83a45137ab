"""RACER (arXiv 2608.24354): repair a fine-tuned model by keeping layers consistent, visual and text tokens apart."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity, cross_entropy

from pcvr.defenses.base import Defense, Fit, StagePlan
from pcvr.defenses.baselines.crow import decoder_layers, recorded_layers
from pcvr.defenses.registry import register_defense
from pcvr.errors import PcvrError
from pcvr.utils.checks import check_number, check_whole, is_number

if TYPE_CHECKING:
    from pcvr.defenses.context import TrainingContext
    from pcvr.models.encode import Batch
    from pcvr.models.vlm import VisionLanguageModel

STAGE = "racer"


@register_defense
@dataclass(frozen=True)
class RACER(Defense):
    """Fine-tune on everything, then repair on clean samples: answers plus the worst layer inconsistency nearby.

    The inconsistency of token ``t`` from layer ``l`` to the next is ``I_t = 1 - cos(H_t^l, H_t^(l+1))``. Its mean over
    the visual tokens is ``I_V``, its mean over the text tokens ``I_T``. Each mean is divided by **its own** number of
    tokens, so that hundreds of visual tokens do not outvote a few words. ``I = w_v I_V + w_t I_T``, mean over a window
    of deep layers. The repair minimises, on about 100 clean samples,

        ``L_answer + alpha max_{|delta|_inf <= eps} I(H^0 + delta)``,

    where ``H^0`` are the embeddings that enter the language model, image tokens included. The inner maximum is found by
    ``K`` steps of signed gradient ascent of size ``eps / K``, from ``delta = 0``.

    From the paper: these formulas, ``w_v = 1``, ``w_t = 3`` (it says 3 to 4), ``K = 20``, 100 clean samples.

    Ours, since we have no values of the paper: `alpha`, `epsilon`, the window, and length, learning rate and batch size
    of the repair. They were set on one attack (BadNets, captions, tiny-llava), looking at test scenes, so choose them
    again on validation scenes before comparing defences. So much learning on clean samples can remove a backdoor by
    itself: compare `CleanTune` with the same `rate` (the row "clean_tune, full rate" of benchmarks/defenses.py).

    Ours too: as in `Crow`, ``H^1 .. H^L`` are the outputs of the decoder layers before the last norm. The regions of a
    sample are averaged first, then the samples. Text tokens are all tokens but image tokens and padding: template,
    prompt and answer. Image tokens are those with the image token's id, in every family; BLIP-2's queries have it too.

    Needs clean data (``finetune(clean=...)``). An ordinary step reads the model once; a step of the repair runs the
    language model ``K + 1`` times more, with as many backward passes. So the repair has few steps: with the default, 25
    steps of 16 samples.

    Attributes:
        alpha: weight of the inconsistency, 0 or more; 0 is fine-tuning on the clean samples.
        epsilon: greatest shift of an embedding coordinate, 0 or more.
        ascent: steps of the inner maximum, 1 or more.
        visual_weight: weight of the visual tokens, 0 or more.
        text_weight: weight of the text tokens, 0 or more.
        window: which pairs of layers count, as fractions of the depth.
        samples: clean samples that are used at most, the first ones.
        steps: optimiser steps of the repair.
        batch_size: samples of such a step, at most the configured number.
        rate: factor on the configured learning rate in the repair, above 0.
    """

    name: ClassVar[str] = "racer"
    needs_clean: ClassVar[bool] = True
    alpha: float = field(default=1.0, metadata={"help": "weight of the inconsistency, 0 or more (ours)"})
    epsilon: float = field(default=0.1, metadata={"help": "greatest shift of a coordinate (ours, as in crow)"})
    ascent: int = field(default=20, metadata={"help": "steps of the inner maximum (paper: 20)"})
    visual_weight: float = field(default=1.0, metadata={"help": "weight of visual tokens, 0 or more (paper: 1)"})
    text_weight: float = field(default=3.0, metadata={"help": "weight of text tokens, 0 or more (paper: 3 to 4)"})
    window: tuple[float, float] = field(
        default=(0.5, 1.0), metadata={"help": "deep layers, as fractions of the depth (paper: deep; fractions ours)"}
    )
    samples: int = field(default=100, metadata={"help": "clean samples used at most (paper: 100)"})
    steps: int = field(default=25, metadata={"help": "optimiser steps of the repair (ours)"})
    batch_size: int = field(default=16, metadata={"help": "samples of such a step (ours)"})
    rate: float = field(default=1.0, metadata={"help": "factor on its learning rate, above 0 (ours)"})

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("alpha", "epsilon", "visual_weight", "text_weight"):
            check_number(name, getattr(self, name), 0, 1e6)
        for name in ("ascent", "samples", "steps", "batch_size"):
            check_whole(name, getattr(self, name), 1)
        check_number("rate", self.rate, 0, 1e6, above=True)
        if not all(map(is_number, self.window)) or not 0 <= self.window[0] < self.window[1] <= 1:
            raise PcvrError(f"window is {self.window!r}: give two rising fractions of the depth from 0 to 1.")

    @property
    def starts_plain(self) -> bool:
        """See `Defense.starts_plain`."""
        return True

    def begin(self, run: TrainingContext) -> None:
        """Check the model before the training.

        Raises:
            PcvrError: no two successive layers of the language model lie in the window.
        """
        count = len(decoder_layers(run.vlm))
        if not pairs_between(count, self.window):
            raise PcvrError(
                f"window is {self.window!r}, and no two successive layers of the {count} of the language model lie "
                "there: give a wider window or take a deeper model."
            )

    def train(self, run: TrainingContext, fit: Fit) -> None:
        """Train on everything, then repair on the clean samples."""
        configured = run.steps
        fit()
        if run.clean is None:
            raise PcvrError("defence 'racer' needs clean data: give finetune(clean=...) some trusted samples.")
        rows = range(min(self.samples, len(run.clean)))
        plan = StagePlan(STAGE, self.steps / configured, self.rate, rows, clean=True, batch_size=self.batch_size)
        fit(plan)

    def loss(self, run: TrainingContext, batch: Batch) -> Tensor:
        """Return the cross-entropy, in the repair plus the weighted inconsistency at the worst shift."""
        if run.stage != STAGE or not self.alpha:
            return super().loss(run, batch)
        with recorded_layers(run.vlm) as plain:
            said = run.forward(batch)
        regions = regions_of(run.vlm, batch)
        shift = self.worst_shift(run.vlm, plain.call, regions)
        rough = self.inconsistency(run.vlm, plain.call, shift, regions)
        run.log["layers apart"] = float(rough.detach())
        return cross_entropy(said.logits, said.targets) + self.alpha * rough

    def worst_shift(self, vlm: VisionLanguageModel, call: Mapping[str, Any], regions: tuple[Tensor, Tensor]) -> Tensor:
        """Return the shift ``[B, T, D]`` of the embeddings at which the ascent ends; no coordinate exceeds `epsilon`.

        Args:
            vlm: the model.
            call: the language model's arguments, from `recorded_layers`.
            regions: from `regions_of`.
        """
        fixed = {**call, "inputs_embeds": call["inputs_embeds"].detach()}
        shift = torch.zeros_like(fixed["inputs_embeds"])
        for _ in range(self.ascent if self.epsilon else 0):
            shift.requires_grad_()
            (slope,) = torch.autograd.grad(self.inconsistency(vlm, fixed, shift, regions), shift)
            shift = shift.detach() + self.epsilon / self.ascent * slope.sign()
        return shift

    def inconsistency(
        self, vlm: VisionLanguageModel, call: Mapping[str, Any], shift: Tensor, regions: tuple[Tensor, Tensor]
    ) -> Tensor:
        """Return ``I(H^0 + shift)``, a scalar with gradient; arguments as for `worst_shift`."""
        with recorded_layers(vlm, shift) as shifted:
            vlm.family.part(vlm.model, "language_model")(**call)
        pairs = list(pairwise(shifted.layers))
        chosen = [pairs[k] for k in pairs_between(len(shifted.layers), self.window)]
        return region_inconsistency(chosen, regions, (self.visual_weight, self.text_weight))


def regions_of(vlm: VisionLanguageModel, batch: Batch) -> tuple[Tensor, Tensor]:
    """Return where a batch has visual tokens and where text tokens: bool ``[B, T]`` each; padding is neither."""
    visual = vlm.image_at(batch["input_ids"])
    text = (batch["attention_mask"] > 0) & ~visual
    return visual.to(vlm.device), text.to(vlm.device)


def pairs_between(layers: int, window: tuple[float, float]) -> list[int]:
    """Return the numbers k, from 0, of the pairs of layers k and k + 1 whose middle lies in a window of the depth."""
    return [k for k in range(layers - 1) if window[0] <= (k + 0.5) / (layers - 1) <= window[1]]


def region_inconsistency(
    pairs: Sequence[tuple[Tensor, Tensor]], regions: tuple[Tensor, Tensor], weights: tuple[float, float]
) -> Tensor:
    """Return ``mean over pairs and samples of w_v I_V + w_t I_T``, each region's mean over its own tokens.

    Args:
        pairs: hidden states of successive layers, ``[B, T, D]`` each; at least one pair.
        regions: where visual and text tokens are, bool ``[B, T]`` each; a sample without tokens of a region adds 0.
        weights: ``w_v`` and ``w_t``.

    Returns:
        A scalar in ``[0, 2 (w_v + w_t)]``.
    """
    turns = torch.stack([1 - cosine_similarity(a.float(), b.float(), dim=-1) for a, b in pairs]).mean(0)  # [B, T]
    means = [(turns * at).sum(1) / at.sum(1).clamp_min(1) for at in regions]  # [B] each
    return (weights[0] * means[0] + weights[1] * means[1]).mean()
