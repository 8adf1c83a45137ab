"""What a defence is: it chooses the loss, may look at the data, and may train in stages or guard the answers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import ceil
from typing import TYPE_CHECKING, Any, ClassVar

from torch import Tensor
from torch.nn.functional import cross_entropy

from pcvr.defenses.stage_plan import Fit as Fit
from pcvr.defenses.stage_plan import StagePlan as StagePlan
from pcvr.utils.checks import check_fields

if TYPE_CHECKING:
    from pcvr.defenses.context import TrainingContext
    from pcvr.models.encode import Batch
    from pcvr.models.vlm import VisionLanguageModel

Generate = Callable[["VisionLanguageModel", Sequence[Any], Sequence[str]], list[str]]
"""``generate(vlm, images, prompts)``: the model's greedy answers, within the task's budget."""


@dataclass(frozen=True)
class Defense:
    """A way to fine-tune on data that may be poisoned. Instances are frozen; state lives in the `TrainingContext`.

    Deriving from this class one gives the loss; everything else has a default.

    Attributes:
        name: what it is asked for by.
        rank: its place in listings: lower ranks come first, equal ones by name.
        needs_clean: whether it cannot do without some trusted samples (``finetune(clean=...)``).
    """

    name: ClassVar[str] = ""
    rank: ClassVar[int] = 0
    needs_clean: ClassVar[bool] = False

    def __post_init__(self) -> None:
        check_fields(self)

    def begin(self, run: TrainingContext) -> None:
        """Called once before the first step."""

    def loss(self, run: TrainingContext, batch: Batch) -> Tensor:
        """The loss of one batch, a scalar with gradient; by default the mean cross-entropy of its answer tokens."""
        said = run.forward(batch)
        return cross_entropy(said.logits, said.targets)

    def train(self, run: TrainingContext, fit: Fit) -> None:
        """Run the whole training: by default one stage. Work between or after stages belongs here too."""
        fit()

    def notes(self, run: TrainingContext) -> tuple[str, ...]:
        """What the defence is not sure of after a training, for people to read: one sentence each, by default none."""
        return ()

    def answer(
        self,
        vlm: VisionLanguageModel,
        images: Sequence[Any],
        prompts: Sequence[str],
        generate: Generate,
        state: Mapping[str, Any] | None = None,
    ) -> list[str]:
        """How the trained model answers at test time: by default as it would anyway.

        Args:
            vlm: the trained model.
            images: N pictures.
            prompts: N prompts.
            generate: gives the model's own answers.
            state: what the defence learned (``run.state``), for those that cannot do without.
        """
        return generate(vlm, images, prompts)


def few_trusted(name: str, count: int, share: float) -> tuple[str, ...]:
    """A note where `share` of the trusted samples is less than one, so that they cannot say which value it exceeds.

    Args:
        name: of the defence.
        count: how many trusted samples there were.
        share: how many of them may lie above the threshold, in (0, 1).
    """
    if count * share >= 1:
        return ()
    return (
        f"Defence {name!r} had few trusted samples ({count}) for a threshold that a share of {share:g} may exceed, "
        f"less than one of them: give at least {ceil(1 / share)}, or expect another rate on clean inputs.",
    )
