"""STRIP (arXiv 1902.06531), for generated answers: an answer that outlives other pictures laid over its own is refused.

The paper's: lay pictures that the defender holds over the input, one a view; the entropy of the predicted class,
averaged over the views, is abnormally low for a triggered input; the threshold is the quantile of clean inputs'
entropies that a chosen false rejection rate gives; inputs below it are rejected.

Ours: an answer has no class whose entropy could be taken. Instead the model's own answer ``y`` of T tokens is read
along with each view ``x'_v``, and its stability is how likely its words still are,

    s = 1/V sum_v exp( 1/T sum_t ln p(y_t | x'_v, q, y_<t) )    in [0, 1],

high for a triggered input. Likelihoods and not logarithms are averaged over views: a view that hides the trigger then
counts as one that does not agree, however little it agrees. The paper has 100 views and takes the quantile of a normal
distribution fitted to the entropies; here are 8 views, and the quantile is that of the samples.

Needs trusted clean samples (`calibrate`) and V forward passes with the answer for each picture; no second generation.
What it cannot tell apart: a question that the model answers without looking has an answer as stable as a triggered one.
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
from pcvr.defenses.base import Defense, Generate, few_trusted
from pcvr.defenses.registry import register_defense
from pcvr.errors import PcvrError
from pcvr.models.budget import Costs, grouped
from pcvr.models.encode import Batch, collate, encode_samples
from pcvr.models.forward import answer_logits
from pcvr.models.generate import generate as greedy
from pcvr.models.layout import viewed
from pcvr.models.preparing import prepared
from pcvr.tasks import get_task
from pcvr.utils.checks import check_choice, check_fields, check_whole, is_number
from pcvr.views import PatchView

if TYPE_CHECKING:
    from pcvr.data.sample import Dataset
    from pcvr.defenses.base import Fit
    from pcvr.defenses.context import TrainingContext
    from pcvr.models.forward import AnswerLogits
    from pcvr.models.vlm import VisionLanguageModel

HOWS = ("blend", "swap")
DONORS = 32
"""Trusted pictures that are kept to be laid over others."""
MOST = 64
"""Pictures whose views are read together at most."""


@dataclass(frozen=True)
class Calibration:
    """What `Strip` learns from trusted samples.

    Attributes:
        threshold: stability above which an answer is refused, 0 to 1.
        stability: float64 ``[N]``, of the trusted samples.
        donors: pictures of at most `DONORS` of them, as the processor lays them out.
    """

    threshold: float
    stability: np.ndarray
    donors: tuple[Batch, ...]

    def __post_init__(self) -> None:
        check_fields(self)


@register_defense
@dataclass(frozen=True)
class Strip(Defense):
    """Plain fine-tuning; at test time answers that hardly depend on the picture are refused."""

    name: ClassVar[str] = "strip"
    needs_clean: ClassVar[bool] = True
    views: int = field(default=8, metadata={"help": "views of each picture (paper: 100)"})
    how: str = field(default="blend", metadata={"help": "blend: lay another picture over it (paper); swap: patches"})
    share: float = field(
        default=0.5, metadata={"help": "weight of the other picture, or share of its patches, in (0, 1) (ours)"}
    )
    patch: int = field(default=16, metadata={"help": "side of a swapped patch in pixels"})
    false_refusals: float = field(
        default=0.01, metadata={"help": "share of trusted samples above the threshold, in (0, 1) (paper: about 1 %)"}
    )
    refusal: str = field(default="I cannot answer that.", metadata={"help": "what is said instead"})
    seed: int = field(default=0, metadata={"help": "seed of the draws of other pictures and patches"})

    def __post_init__(self) -> None:
        super().__post_init__()
        check_whole("views", self.views, 1)
        check_whole("seed", self.seed, 0)
        check_choice("how (way to perturb)", self.how, HOWS)
        for name in ("share", "false_refusals"):
            value = getattr(self, name)
            if not is_number(value) or not 0 < value < 1:
                raise PcvrError(f"{name} must lie in (0, 1), got {value!r}.")
        if not isinstance(self.refusal, str):
            raise PcvrError(f"refusal must be a text, got {self.refusal!r}.")
        PatchView("swap", self.share, self.patch)  # looks at patch

    def train(self, run: TrainingContext, fit: Fit) -> None:
        """Plain training, then the calibration on ``run.clean``, which goes into ``run.state``."""
        fit()
        if run.clean is None:
            raise PcvrError(f"defence {self.name!r} needs clean data: give finetune(clean=...) some trusted samples.")
        run.state.update(self.calibrate(run.vlm, run.clean.data))

    def notes(self, run: TrainingContext) -> tuple[str, ...]:
        """Whether trusted samples were too few for the threshold."""
        known = run.state.get(self.name)  # nothing, where the training was stopped
        return () if known is None else few_trusted(self.name, len(known.stability), self.false_refusals)

    def calibrate(self, vlm: VisionLanguageModel, clean: Dataset) -> dict[str, Any]:
        """Set the threshold of a model that is trained already.

        Args:
            vlm: the model.
            clean: trusted samples, at least two; a false refusal rate of 1 % wants some hundred. Their answers are not
                used: what is measured is the stability of the model's own.

        Returns:
            What `answer` and `pcvr.evaluate` take as ``state``.

        Raises:
            PcvrError: fewer than two samples, so that there is no other picture.
        """
        if len(clean) < 2:
            raise PcvrError(f"clean has {len(clean)} samples: give at least 2, one picture to be laid over another.")
        pool = np.random.default_rng(self.seed).permutation(len(clean))[:DONORS].tolist()
        kept = ("pixel_values", "image_grid_thw")
        rows = [encode_samples(vlm, [clean[i]])[0] for i in pool]
        donors = tuple({k: v for k, v in row.items() if k in kept} for row in rows)
        own = [pool.index(i) if i in pool else -1 for i in range(len(clean))]
        asked = Asked(clean)
        said = greedy(vlm, asked.images, asked.prompts, get_task(clean.task).max_new_tokens)
        found = self._stability(vlm, asked.images, asked.prompts, said, donors, own)
        return {self.name: Calibration(float(np.quantile(found, 1 - self.false_refusals)), found, donors)}

    def answer(
        self,
        vlm: VisionLanguageModel,
        images: Sequence[Any],
        prompts: Sequence[str],
        generate: Generate,
        state: Mapping[str, Any] | None = None,
    ) -> list[str]:
        """The model's answers, those that are too stable replaced by the refusal.

        Raises:
            PcvrError: no calibration in `state`.
        """
        known = self._known(state)
        said = generate(vlm, images, prompts)
        found = self.stability(vlm, images, prompts, said, state)
        return [self.refusal if s > known.threshold else text for s, text in zip(found, said, strict=True)]

    def stability(
        self,
        vlm: VisionLanguageModel,
        images: Sequence[Any],
        prompts: Sequence[str],
        said: Sequence[str],
        state: Mapping[str, Any] | None,
    ) -> np.ndarray:
        """How stable the answers `said` are when trusted pictures are laid over theirs: ``[N]`` in ``[0, 1]``.

        The draws hang on the seed and on the place of a picture in the call.

        Raises:
            PcvrError: no calibration in `state`.
        """
        return self._stability(vlm, images, prompts, said, self._known(state).donors, [-1] * len(images))

    def _known(self, state: Mapping[str, Any] | None) -> Calibration:
        known = None if state is None else state.get(self.name)
        if not isinstance(known, Calibration):
            raise PcvrError(
                f"defence {self.name!r} is not calibrated: give state=rule.calibrate(vlm, clean), or the run.state "
                "that a fine-tuning with it has."
            )
        return known

    @torch.inference_mode()
    def _stability(
        self,
        vlm: VisionLanguageModel,
        images: Sequence[Any],
        prompts: Sequence[str],
        said: Sequence[str],
        donors: Sequence[Batch],
        own: Sequence[int],
    ) -> np.ndarray:
        """`own` says which donor is the picture itself and must not be laid over it; -1 for none."""
        vlm.model.eval()
        view = _Superimposed("swap", self.share) if self.how == "blend" else PatchView("swap", self.share, self.patch)
        generator = torch.Generator().manual_seed(self.seed)
        asked = ((i, Sample("asked", images[i], prompts[i], text)) for i, text in enumerate(said))
        costs, found = Costs.of(vlm), []
        encoded = prepared(vlm, asked, encode_samples)
        for group in grouped(encoded, lambda each: costs.reading(each[1], len(each[1]["labels"])), MOST, vlm.device):
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
    """The whole picture as one patch that changes in part: ``(1 - share) x + share d``."""

    def __call__(self, pixels: Tensor, generator: torch.Generator, donors: Tensor | None = None) -> Tensor:
        if donors is None:
            raise PcvrError("a picture needs another one to be laid over it: give donors.")
        return torch.lerp(pixels, donors.to(pixels), self.share)


def word_likelihood(said: AnswerLogits) -> Tensor:
    """The geometric mean of the probabilities of each sample's answer tokens: ``[B]`` in ``[0, 1]``."""
    return (-said.sample_mean(cross_entropy(said.logits, said.targets, reduction="none"))).double().exp()
