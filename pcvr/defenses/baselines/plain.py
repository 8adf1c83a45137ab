"""No defence, and augmentation alone: the two controls for every defence."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar

from torch import Tensor
from torch.nn.functional import cross_entropy

from pcvr.defenses.base import Defense
from pcvr.defenses.registry import register_defense
from pcvr.utils.checks import check_choice
from pcvr.views import PatchView

if TYPE_CHECKING:
    from pcvr.defenses.context import TrainingContext
    from pcvr.models.encode import Batch


@register_defense
@dataclass(frozen=True)
class PlainSFT(Defense):
    """Plain supervised fine-tuning: mean cross-entropy of the answer tokens, in nats."""

    name: ClassVar[str] = "none"
    order: ClassVar[int] = -3

    @property
    def starts_plain(self) -> bool:
        """See `Defense.starts_plain`."""
        return True


@register_defense
@dataclass(frozen=True)
class AugmentOnly(Defense):
    """Patch augmentation without regularisation: the control for the effect of the views alone.

    Attributes:
        views: ``"one"`` trains on the perturbed view only, ``"both"`` on original and view.
        view: the perturbed view.
    """

    name: ClassVar[str] = "augment"
    order: ClassVar[int] = -2
    views: str = field(default="one", metadata={"help": "one: the view only; both: original and view"})
    view: PatchView = field(
        default_factory=lambda: PatchView(fraction=0.3), metadata={"help": "the perturbed view (ours: swap, 0.3)"}
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        check_choice("choice of views", self.views, ("one", "both"))

    def loss(self, run: TrainingContext, batch: Batch) -> Tensor:
        """Return the mean cross-entropy of the answer tokens with the view, or with both."""
        seen = run.forward(run.view(batch, self.view))
        loss = cross_entropy(seen.logits, seen.targets)
        if self.views == "both":
            said = run.forward(batch)
            loss = (loss + cross_entropy(said.logits, said.targets)) / 2
        return loss
