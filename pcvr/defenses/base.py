"""The base class of all defences: the loss, and hooks before, during and after the training and at test time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from torch import Tensor
from torch.nn.functional import cross_entropy

from pcvr.defenses.stage_plan import Fit as Fit
from pcvr.defenses.stage_plan import StagePlan as StagePlan
from pcvr.models.guard import Generate as Generate
from pcvr.utils.checks import check_fields

if TYPE_CHECKING:
    from pcvr.defenses.context import TrainingContext
    from pcvr.models.encode import Batch
    from pcvr.models.vlm import VisionLanguageModel


@dataclass(frozen=True)
class Defense:
    """A way to fine-tune on data that may be poisoned. Instances are frozen; state lives in the `TrainingContext`.

    A derived class defines the loss; everything else has a default.

    Attributes:
        name: the name that it is registered under.
        order: its place in listings: lower numbers come first, equal ones by name.
        needs_clean: whether it needs trusted samples (``finetune(clean=...)``).
        ADDED: options that older checkpoints lack, with the values that those trainings had.
        CHANGED: options whose default has changed, with the first default (`pcvr.defenses.stored_options`).
    """

    name: ClassVar[str] = ""
    order: ClassVar[int] = 0
    needs_clean: ClassVar[bool] = False
    ADDED: ClassVar[Mapping[str, Any]] = {}
    CHANGED: ClassVar[Mapping[str, Any]] = {}

    def __post_init__(self) -> None:
        check_fields(self)

    @property
    def starts_plain(self) -> bool:
        """Whether the first stage is a full one with the plain loss, the same as without a defence."""
        return False

    def begin(self, run: TrainingContext) -> None:
        """Prepare the run, once before the first step."""

    def loss(self, run: TrainingContext, batch: Batch) -> Tensor:
        """Return the loss of one batch, a scalar with gradient; by default the mean cross-entropy of answer tokens."""
        said = run.forward(batch)
        return cross_entropy(said.logits, said.targets)

    def train(self, run: TrainingContext, fit: Fit) -> None:
        """Run the whole training: by default one stage. Work between or after stages belongs here too."""
        fit()

    def notes(self, run: TrainingContext) -> tuple[str, ...]:
        """Return the defence's doubts after a training, one sentence each for people to read; by default none."""
        return ()

    def answer(
        self,
        vlm: VisionLanguageModel,
        images: Sequence[Any],
        prompts: Sequence[str],
        generate: Generate,
        state: Mapping[str, Any] | None = None,
    ) -> list[str]:
        """Answer at test time: by default as the model does. A defence with an `answer` of its own guards its model.

        Args:
            vlm: the trained model, without its guard.
            images: N images.
            prompts: N prompts.
            generate: returns the model's own answers.
            state: what the defence learned (``run.state``).
        """
        return generate(vlm, images, prompts)

    @classmethod
    def answers_at_test_time(cls) -> bool:
        """Whether the defence has an `answer` of its own, so that its models carry it as their guard."""
        return cls.answer is not Defense.answer
