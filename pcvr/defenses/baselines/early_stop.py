"""Early stopping: end plain fine-tuning before the model learns the backdoor, as far as that works."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar

from pcvr.defenses.base import Defense, StagePlan
from pcvr.defenses.registry import register_defense
from pcvr.errors import PcvrError
from pcvr.utils.checks import is_number
from pcvr.utils.renamed import accepts_old_names

if TYPE_CHECKING:
    from pcvr.defenses.base import Fit
    from pcvr.defenses.context import TrainingContext


@register_defense
@accepts_old_names
@dataclass(frozen=True)
class EarlyStop(Defense):
    """Plain fine-tuning that ends after a fraction of the steps: the control for what a defence gains by learning less.

    The learning rate follows the schedule for all steps, so the result is the model of plain fine-tuning part of the
    way through. A shorter schedule would differ: its learning rate would have decayed to zero. This is no method of a
    paper. A fixed fraction is our choice, since stopping on a validation loss would need clean data. A half, the
    default, can come too late for a fair control, after the backdoor is complete: compare a quarter too.

    Needs no clean data and no extra pass; it costs `fraction` of plain fine-tuning.

    Attributes:
        fraction: fraction of the configured steps that are done, in ``(0, 1)``; at least one step is.
    """

    name: ClassVar[str] = "early_stop"
    order: ClassVar[int] = -2
    RENAMED: ClassVar[Mapping[str, str]] = {"share": "fraction"}
    fraction: float = field(default=0.5, metadata={"help": "fraction of the steps that are done, (0, 1) (ours)"})

    def __post_init__(self) -> None:
        super().__post_init__()
        if not is_number(self.fraction) or not 0 < self.fraction < 1:
            raise PcvrError(
                f"fraction is {self.fraction!r}: give a number between 0 and 1, such as 0.5 to stop halfway."
            )

    def train(self, run: TrainingContext, fit: Fit) -> None:
        """Train in one stage that ends early."""
        fit(StagePlan(stop=self.fraction))
