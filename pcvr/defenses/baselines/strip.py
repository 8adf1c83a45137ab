"""STRIP (arXiv 1902.06531) for generated answers: refuse an answer that survives other images laid over its own.

Stated by the paper: lay images that the defender holds over the input, one in each view. For a triggered input the
entropy of the predicted class, averaged over the views, is abnormally low. The threshold is the quantile of the clean
inputs' entropies that a chosen false-rejection rate gives. Inputs below it are rejected.

Ours: a generated answer has no class with an entropy. Instead the model reads its own answer ``y`` of T tokens with
each view ``x'_v``, and the answer's stability is how likely its words still are,

    s = 1/V sum_v exp( 1/T sum_t ln p(y_t | x'_v, q, y_<t) )    in [0, 1],

high for a triggered input. Likelihoods, not logarithms, are averaged over views, so that a view that hides the trigger
counts as one disagreement, whatever its likelihood. The paper uses 100 views and the quantile of a normal distribution
fitted to the entropies; we use the quantile of the samples.

Two of our defaults are cheaper or milder than the original. ``views=100`` is the paper's number; we take 8, since each
costs a forward pass for every answer. ``blend="add"`` adds both images and clips at white, as the public code does; our
default ``blend="mean"`` averages them. `Strip(views=100, blend="add")` is the paper's form.

Needs trusted clean samples (`calibrate`) and V forward passes with the answer for each image; no second generation.
Its limit: an answer that the model gives without using the image is as stable as a triggered one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from pcvr.data.asked import Asked
from pcvr.data.sample import Sample
from pcvr.defenses.calibrated import CalibratedDefense, Calibration, in_batches
from pcvr.defenses.registry import register_defense
from pcvr.errors import PcvrError
from pcvr.models.encode import Batch, collate, encode_samples
from pcvr.models.forward import answer_logits
from pcvr.models.generate import generate as greedy
from pcvr.models.layout import viewed
from pcvr.models.preparing import prepared
from pcvr.tasks import get_task
from pcvr.utils.checks import check_choice, check_whole
from pcvr.utils.renamed import accepts_old_names
from pcvr.views import PatchView

if TYPE_CHECKING:
    from pcvr.data.sample import Dataset
    from pcvr.defenses.base import Generate
    from pcvr.models.forward import AnswerLogits
    from pcvr.models.vlm import VisionLanguageModel

HOWS = ("blend", "swap")
BLENDS = ("mean", "add")
DONORS = 32
"""Trusted images that are kept to be laid over others; with more views, as many as views."""


@accepts_old_names
@dataclass(frozen=True)
class StripCalibration(Calibration):
    """What `Strip` learns from trusted samples; the scores are stabilities, 0 to 1.

    Attributes:
        donors: images of some of the trusted samples, as the processor prepares them.
    """

    RENAMED: ClassVar[Mapping[str, str]] = {"stability": "scores"}
    donors: tuple[Batch, ...]


@register_defense
@accepts_old_names
@dataclass(frozen=True)
class Strip(CalibratedDefense[StripCalibration]):
    """Plain fine-tuning; at test time answers that hardly depend on the image are refused."""

    name: ClassVar[str] = "strip"
    kept: ClassVar[type[Calibration]] = StripCalibration
    RENAMED: ClassVar[Mapping[str, str]] = {"share": "fraction"}
    ADDED: ClassVar[Mapping[str, Any]] = {"blend": "mean"}
    views: int = field(default=8, metadata={"help": "views of each image (paper: 100; 8 is ours, to save time)"})
    how: str = field(default="blend", metadata={"help": "blend: lay another image over it (paper); swap: patches"})
    fraction: float = field(
        default=0.5,
        metadata={"help": "weight of the other image in a mean, or fraction of its patches, in (0, 1) (ours)"},
    )
    patch: int = field(default=16, metadata={"help": "side of a swapped patch in pixels"})
    false_refusals: float = field(
        default=0.01, metadata={"help": "fraction of trusted samples above the threshold, in (0, 1) (paper: about 1 %)"}
    )
    refusal: str = field(default="I cannot answer that.", metadata={"help": "what is said instead"})
    seed: int = field(default=0, metadata={"help": "seed of the draws of other images and patches"})
    blend: str = field(default="mean", metadata={"help": "mean of both images (ours); add: add and clip (public code)"})

    def __post_init__(self) -> None:
        super().__post_init__()
        check_whole("views", self.views, 1)
        check_whole("seed", self.seed, 0)
        check_choice("how (way to perturb)", self.how, HOWS)
        check_choice("blend (way to lay over)", self.blend, BLENDS)
        self.check_fractions("fraction", "false_refusals")
        PatchView("swap", self.fraction, self.patch)  # checks patch

    @property
    def false_positive_rate(self) -> float:
        """Fraction of the trusted samples whose answers are refused, in (0, 1)."""
        return self.false_refusals

    def learn(self, vlm: VisionLanguageModel, clean: Dataset) -> tuple[np.ndarray, dict[str, Any]]:
        """Return the stability of the model's own answers to trusted samples, ``[N]``, and the donors."""
        pool = np.random.default_rng(self.seed).permutation(len(clean))[: max(DONORS, self.views)].tolist()
        kept = ("pixel_values", "image_grid_thw")
        rows = [encode_samples(vlm, [clean[i]])[0] for i in pool]
        donors = tuple({k: v for k, v in row.items() if k in kept} for row in rows)
        own = [pool.index(i) if i in pool else -1 for i in range(len(clean))]
        asked = Asked(clean)
        said = greedy(vlm, asked.images, asked.prompts, get_task(clean.task).max_new_tokens)
        return self._stability(vlm, asked.images, asked.prompts, said, donors, own), {"donors": donors}

    def respond(
        self,
        vlm: VisionLanguageModel,
        images: Sequence[Any],
        prompts: Sequence[str],
        generate: Generate,
        known: StripCalibration,
    ) -> list[str]:
        """Return the model's answers, with those that are too stable replaced by the refusal."""
        said = generate(vlm, images, prompts)
        found = self._stability(vlm, images, prompts, said, known.donors)
        return [self.refusal if s > known.threshold else text for s, text in zip(found, said, strict=True)]

    def stability(
        self,
        vlm: VisionLanguageModel,
        images: Sequence[Any],
        prompts: Sequence[str],
        said: Sequence[str],
        state: Mapping[str, Any] | None,
    ) -> np.ndarray:
        """Return how stable the answers `said` are when trusted images are laid over theirs: ``[N]`` in ``[0, 1]``.

        The draws depend on the seed and on the position of an image in the call.

        Raises:
            PcvrError: no calibration in `state`.
        """
        return self._stability(vlm, images, prompts, said, self.calibration(state).donors)

    def _view(self, vlm: VisionLanguageModel) -> PatchView:
        """Return what makes a view of an image and a donor."""
        if self.how == "swap":
            return PatchView("swap", self.fraction, self.patch)
        if self.blend == "mean":
            return _Superimposed("swap", self.fraction, self.patch)
        prepare = vlm.processor.image_processor
        mean, std = (tuple(map(float, values)) for values in (prepare.image_mean, prepare.image_std))
        return _Added("swap", self.fraction, self.patch, mean=mean, std=std)

    @torch.inference_mode()
    def _stability(
        self,
        vlm: VisionLanguageModel,
        images: Sequence[Any],
        prompts: Sequence[str],
        said: Sequence[str],
        donors: Sequence[Batch],
        own: Sequence[int] | None = None,
    ) -> np.ndarray:
        """As `stability`; `own` gives the donor that is the image itself, -1 for none. It is never laid over itself."""
        vlm.model.eval()
        view = self._view(vlm)
        generator = torch.Generator().manual_seed(self.seed)
        own = [-1] * len(said) if own is None else own
        asked = ((i, Sample("asked", images[i], prompts[i], text)) for i, text in enumerate(said))
        found = []
        for group in in_batches(vlm, prepared(vlm, asked, encode_samples)):
            part, rows = [i for i, _ in group], [row for _, row in group]
            total = torch.zeros(len(rows), dtype=torch.float64)
            for _ in range(self.views):
                drawn = torch.randint(len(donors), (len(rows),), generator=generator).tolist()
                lent = [donors[(d + 1) % len(donors) if d == own[i] else d] for i, d in zip(part, drawn, strict=True)]
                pixels = viewed(vlm, rows, lent, view, generator)
                seen = [row | {"pixel_values": picture} for row, picture in zip(rows, pixels, strict=True)]
                total += word_likelihood(answer_logits(vlm, collate(seen, vlm.tokenizer.pad_token_id))).cpu()
            found.append(total / self.views)
        return torch.cat(found).numpy() if found else np.zeros(0)


class _Superimposed(PatchView):
    """The whole image as one patch that changes in part: ``(1 - fraction) x + fraction d``."""

    def __call__(self, pixels: Tensor, generator: torch.Generator, donors: Tensor | None = None) -> Tensor:
        if donors is None:
            raise PcvrError("donors is None: give the images that are laid over others.")
        return torch.lerp(pixels, donors.to(pixels), self.fraction)


@dataclass(frozen=True)
class _Added(PatchView):
    """Both images added level by level and clipped at white: ``min(x + d, 1)`` for levels from 0 to 1.

    Attributes:
        mean: of each channel, in the processor's normalisation ``(x - mean) / std``.
        std: of each channel.
    """

    mean: tuple[float, ...] = (0.0, 0.0, 0.0)
    std: tuple[float, ...] = (1.0, 1.0, 1.0)

    def __call__(self, pixels: Tensor, generator: torch.Generator, donors: Tensor | None = None) -> Tensor:
        if donors is None:
            raise PcvrError("donors is None: give the images that are laid over others.")
        mean, std = (pixels.new_tensor(values).view(-1, 1, 1) for values in (self.mean, self.std))
        levels = (pixels * std + mean) + (donors.to(pixels) * std + mean)
        return (levels.clamp(max=1) - mean) / std


def word_likelihood(said: AnswerLogits) -> Tensor:
    """Return the geometric mean of the probabilities of each sample's answer tokens: ``[B]`` in ``[0, 1]``."""
    return (-said.sample_mean(cross_entropy(said.logits, said.targets, reduction="none"))).double().exp()
