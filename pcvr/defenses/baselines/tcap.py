"""TCAP (arXiv 2601.21692): drop the samples whose attention profile is a minority's, and train again."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import torch
from torch import Tensor

from pcvr.defenses.base import Defense, Fit
from pcvr.defenses.baselines.tcap_votes import HeadSplit, Place, best_heads, poll, split_head
from pcvr.defenses.filtering import attention_before_answers, enough_samples, few_samples, train_without
from pcvr.defenses.pcvr.gate import Gate
from pcvr.defenses.registry import register_defense
from pcvr.errors import PcvrError
from pcvr.models.prompt_blocks import prompt_blocks
from pcvr.utils.checks import check_number, check_whole

if TYPE_CHECKING:
    from pcvr.defenses.context import TrainingContext
    from pcvr.models.encode import Batch

SYSTEM = 0
"""Place of the system block in a profile."""


@register_defense
@dataclass(frozen=True)
class TCAP(Defense):
    """Fine-tune on everything, let attention heads vote on which samples are poisoned, drop these, retrain.

    The profile of a sample is how the attention of the last prompt token, which predicts the first token of the answer,
    is divided among three blocks of the prompt, in each layer and head:

        ``alpha = (a_sys, a_vis, a_txt)``, sums over the system block, the image tokens and the user's text, sum 1

    For each head of the last layers, ``a_sys`` is scaled to ``[0, 1]`` over all samples (min-max). A mixture of
    Gaussians, 1 to `components` of them by AIC, is split in a minority (target) and a majority. The separation of a
    head is ``1 / (overlap of the two groups + eps)``. The best heads vote: for a sample whose posterior mass in the
    target group is above `threshold`. Dawid-Skene EM weighs the voters. Samples with a posterior above 0.5 are dropped.

    From the paper, as far as our notes about it say: all of the above, with K up to 5. The notes do not say which
    layers are the last, how many heads vote, what the threshold is, and how components become two groups (see
    `split_head`); these are ours. So are the least weight of a minority, and the largest overlap of a head that votes.
    At 0.05, two equal Gaussians are about 4 standard deviations apart, as BYE asks of a layer. It was 0.1 until we saw
    BadNets on captions (tiny-llava), so that case is not held out. ``max_overlap=1`` lets the best heads vote however
    close their groups are, which is the paper's setting as far as our notes say. With fewer than three voters, the
    posterior is the mean of their target masses.

    **Most chat templates, those of the embedded models too, have no system message: special tokens and the template's
    role words stand in for it.** If no sample is dropped, the first model is kept.

    Needs no clean data, but a second training and a pass over the data. ``run.state`` gets ``profile``
    ``[N, layers, heads, 3]``, ``heads`` (layer and head of the voters, the best first), ``votes`` ``[N, voters]``,
    ``kept`` (indices) and, if some head voted, an entry in ``scorings``: its scores are one minus the posterior, its
    separation is the mean of the voters'.

    Attributes:
        depth: fraction of the layers whose heads may vote, the last ones, in ``(0, 1]``; at least one layer.
        heads: most heads that vote, at least 1.
        components: most Gaussians of a head, at least 2.
        threshold: posterior mass of the target group above which a head votes for a sample, in ``(0, 1)``.
        min_fraction: least weight of a target group, in ``[0, 0.5]``.
        max_overlap: largest overlap of the two groups of a head that votes, in ``[0, 1]``.
    """

    name: ClassVar[str] = "tcap"
    depth: float = field(
        default=0.5,
        metadata={"help": "fraction of the layers that may vote, the last, (0, 1] (paper: last; size ours)"},
    )
    heads: int = field(default=5, metadata={"help": "heads that vote at most (paper: the best; number ours)"})
    components: int = field(default=5, metadata={"help": "Gaussians of a head at most (paper: 5)"})
    threshold: float = field(default=0.5, metadata={"help": "target mass above which a head votes, (0, 1) (ours)"})
    min_fraction: float = field(default=0.005, metadata={"help": "least weight of a target group, [0, 0.5] (ours)"})
    max_overlap: float = field(default=0.05, metadata={"help": "largest overlap of a voter's groups, [0, 1] (ours)"})

    def __post_init__(self) -> None:
        super().__post_init__()
        check_number("depth", self.depth, 0, 1, above=True)
        check_whole("heads", self.heads, 1)
        check_whole("components", self.components, 2, 100)
        check_number("threshold", self.threshold, 0, 1, above=True)
        if self.threshold == 1:
            raise PcvrError("threshold is 1: give less than 1, so that a head can vote.")
        check_number("min_fraction", self.min_fraction, 0, 0.5)
        check_number("max_overlap", self.max_overlap, 0, 1)

    @property
    def starts_plain(self) -> bool:
        """See `Defense.starts_plain`."""
        return True

    def begin(self, run: TrainingContext) -> None:
        """Check the data before the training.

        Raises:
            PcvrError: fewer samples than clusters.
        """
        enough_samples(self.name, len(run.data))
        run.state["scorings"] = []

    def train(self, run: TrainingContext, fit: Fit) -> None:
        """Fine-tune, let the heads vote, and train again if anything was dropped."""
        fit()
        profile = attention_profile(run)
        run.state.update(profile=profile.astype(np.float32), heads=[], kept=list(range(len(run.data))))
        voters = best_heads(self.split(profile), self.heads, self.max_overlap)
        if not voters:
            return
        votes, posterior = poll(list(voters.values()), self.threshold)
        run.state.update(heads=list(voters), votes=votes)
        dropped = posterior > 0.5
        separation = float(np.mean([split.separation for split in voters.values()]))
        train_without(run, fit, dropped, Gate(posterior, separation, float(dropped.mean()), True), 1 - posterior)

    def split(self, profile: np.ndarray) -> dict[Place, HeadSplit | None]:
        """Return what each head of the last layers makes of profiles ``[N, layers, heads, 3]``, by layer and head."""
        count = profile.shape[1]
        first = count - max(1, round(self.depth * count))
        return {
            (layer, head): split_head(profile[:, layer, head, SYSTEM], self.components, self.min_fraction)
            for layer in range(first, count)
            for head in range(profile.shape[2])
        }

    def notes(self, run: TrainingContext) -> tuple[str, ...]:
        """Say whether samples were few, and why nothing was dropped, or more than half."""
        few = few_samples(self.name, len(run.data), "a minority where there is none")
        if "profile" not in run.state:  # stopped before the filter
            return few
        if not run.state["profile"][..., SYSTEM].any():
            return (
                *few,
                f"Defence 'tcap' found no system block: the template of {run.vlm.name!r} has no system message, "
                "special token or role word, so no head could vote, and no sample was dropped.",
            )
        if not run.state["heads"]:
            return (
                *few,
                "Defence 'tcap' found no head whose attention on the system block divides the samples, and dropped "
                "none: that is correct if no sample is poisoned; otherwise this attention does not show which are.",
            )
        judged = int(run.state["scorings"][-1]["gate"].flagged.sum())
        if judged <= len(run.data) / 2:
            return few
        return (
            *few,
            f"Defence 'tcap' judged {judged} of {len(run.data)} samples poisoned, more than half: poison is a "
            "minority, so do not trust these votes; look at the heads, or lower max_overlap.",
        )


def attention_profile(run: TrainingContext, batch_size: int | None = None) -> np.ndarray:
    """Return how the attention before each answer is divided among system block, image and user's text.

    Returns:
        float64 ``[N, layers, heads, 3]``, 0 or more, sum 1 over the last dimension. Arguments and errors as of
        `attention_before_answers`.
    """

    def sums(batch: Batch, last: Tensor, layers: list[Tensor]) -> Tensor:
        blocks = prompt_blocks(run.vlm, batch["input_ids"], last).float()
        return torch.stack([torch.einsum("bht,bkt->bhk", each, blocks) for each in layers], 1)

    return attention_before_answers(run, TCAP.name, sums, batch_size)
