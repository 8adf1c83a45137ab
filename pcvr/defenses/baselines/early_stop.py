"""Early stopping: plain fine-tuning that ends before the backdoor has settled, or so one hopes."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar

from pcvr.defenses.base import Defense, StagePlan
from pcvr.defenses.registry import register_defense
from pcvr.errors import PcvrError
from pcvr.utils.checks import is_number

if TYPE_CHECKING:
    from pcvr.defenses.base import Fit
    from pcvr.defenses.context import TrainingContext


@register_defense
@dataclass(frozen=True)
class EarlyStop(Defense):
    """Plain fine-tuning, ended after a share of the steps: the control for whatever a defence wins by learning less.

    The learning rate follows the plan for all of the steps, so what one gets is plain fine-tuning's own model as it is
    part way through. A shorter plan would be another recipe: its learning rate would have fallen to zero. No paper
    is behind it; a fixed share is our choice, since stopping on a validation loss would need clean data.

    Needs no clean data and no extra pass; it costs `share` of plain fine-tuning.

    Attributes:
        share: of the configured steps that are done, in ``(0, 1)``; at least one step is.
    """

    name: ClassVar[str] = "early_stop"
    rank: ClassVar[int] = -2
    share: float = field(default=0.5, metadata={"help": "share of the steps that are done, (0, 1) (ours)"})

    def __post_init__(self) -> None:
        super().__post_init__()
        if not is_number(self.share) or not 0 < self.share < 1:
            raise PcvrError(f"share is {self.share!r}: give a number between 0 and 1, 0.5 to stop half way.")

    def train(self, run: TrainingContext, fit: Fit) -> None:
        """One stage, cut short."""
        fit(StagePlan(stop=self.share))
