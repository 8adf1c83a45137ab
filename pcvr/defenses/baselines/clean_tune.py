"""Fine-tune on everything, then on trusted samples: the simplest way to use clean data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar

from pcvr.defenses.base import Defense, Fit, StagePlan
from pcvr.defenses.registry import register_defense
from pcvr.errors import PcvrError
from pcvr.utils.checks import check_number
from pcvr.utils.renamed import accepts_old_names

if TYPE_CHECKING:
    from pcvr.defenses.context import TrainingContext


@register_defense
@accepts_old_names
@dataclass(frozen=True)
class CleanTune(Defense):
    """Plain fine-tuning on all the data, then a second stage of it on the samples that the defender trusts.

    The baseline "fine-tuning" of the field (Liu et al. 1805.12185 among others): the mean cross-entropy of the answer
    tokens in both stages, in the hope that the model forgets the backdoor. The number of steps and the learning rate of
    the second stage are ours, the same as in CROW's stage on clean data. They are not tuned: compare several values of
    `rate` before you call this baseline weak. A second stage that is too long, or has too high a learning rate,
    overfits the few samples and costs accuracy on the task.

    Needs clean data (``finetune(clean=...)``). Its steps are added to the configured ones.

    Attributes:
        fraction: steps of the second stage as a fraction of the configured ones, in ``(0, 1)``.
        rate: factor on the configured learning rate in the second stage, above 0.
    """

    name: ClassVar[str] = "clean_tune"
    needs_clean: ClassVar[bool] = True
    RENAMED: ClassVar[Mapping[str, str]] = {"share": "fraction"}
    fraction: float = field(default=0.25, metadata={"help": "steps of the stage on clean data, (0, 1) (ours)"})
    rate: float = field(default=0.25, metadata={"help": "factor on its learning rate, above 0 (ours)"})

    def __post_init__(self) -> None:
        super().__post_init__()
        check_stage(self.fraction, self.rate)

    @property
    def starts_plain(self) -> bool:
        """See `Defense.starts_plain`."""
        return True

    def train(self, run: TrainingContext, fit: Fit) -> None:
        """Train on everything, then on the clean samples."""
        fit()
        fit(StagePlan("clean", fraction=self.fraction, rate=self.rate, clean=True))


def check_stage(fraction: float, rate: float) -> None:
    """Check the length and learning rate of a stage on clean data.

    Raises:
        PcvrError: `fraction` is outside ``(0, 1)``, or `rate` is not above 0.
    """
    check_number("fraction", fraction, 0, 1, above=True)
    if fraction == 1:
        raise PcvrError("fraction is 1: give a fraction below 1, since the stage is an addition to the fine-tuning.")
    check_number("rate", rate, 0, 1e6, above=True)
