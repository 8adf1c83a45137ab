"""One stage of a training, as a defence asks for it."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

from pcvr.utils.checks import check_number, check_whole
from pcvr.utils.renamed import current_names


@dataclass(frozen=True)
class StagePlan:
    """What is special about one stage; the defaults train on all the data as configured.

    Attributes:
        name: what the loss finds in ``run.stage``; each stage of a defence has a name of its own.
        fraction: steps of the stage as a fraction of the configured ones, above 0; at least one step is done.
        rate: factor on the configured learning rate, above 0. Each stage has its own warm-up and decay.
        rows: indices of the samples to train on; None for all.
        clean: train on the defender's trusted samples (``run.clean``) instead of the training data.
        fresh: start from the adapter as it was before any training.
        stop: fraction of the stage's steps, above 0, after which the stage ends; the learning rate still follows the
            plan for all of them. At least one step is done.
        groups: group of each sample that is trained on, in the order of `rows`. Every optimiser step then has samples
            of one group only, and the steps of each group are spread evenly over an epoch; the last step of a group is
            filled up with samples of it. None: samples are shuffled without groups.
        batch_size: samples of an optimiser step, 1 or more; None for the configured number, which is also the most.
    """

    RENAMED: ClassVar[Mapping[str, str]] = {"stage": "name", "share": "fraction"}

    name: str = "train"
    fraction: float = 1.0
    rate: float = 1.0
    rows: Sequence[int] | None = None
    clean: bool = False
    fresh: bool = False
    stop: float = 1.0
    groups: Sequence[int] | None = None
    batch_size: int | None = None

    def __post_init__(self) -> None:
        for name in ("fraction", "rate", "stop"):
            check_number(name, getattr(self, name), 0, 1e6, above=True)
        if self.batch_size is not None:
            check_whole("batch_size", self.batch_size, 1, what="samples")

    def steps(self, configured: int) -> int:
        """Optimiser steps that the learning rate of this stage is planned for."""
        return max(1, round(self.fraction * configured))

    def last_step(self, steps: int) -> int:
        """The step of the stage, from 1 to `steps`, after which it ends."""
        return max(1, round(self.stop * steps))

    def samples(self, configured: int, parts: int = 1) -> int:
        """Samples of an optimiser step of this stage.

        Args:
            configured: samples of a step as configured, a multiple of `parts`.
            parts: micro-batches and processes that share a step; the result is a multiple of it, at least one each.
        """
        asked = configured if self.batch_size is None else min(self.batch_size, configured)
        return max(1, asked // parts) * parts


FULL_STAGE = StagePlan()
"""As configured, on all the data."""


class Fit(Protocol):
    """Trains the run's model for one stage with the defence's own loss; `Defense.train` gets one."""

    def __call__(self, plan: StagePlan = FULL_STAGE, /) -> None:
        """Train as `plan` says; without one, a full stage on all the data."""
        ...


def as_plan(*given: Any, **options: Any) -> StagePlan:
    """The plan that a defence gave to `fit`; the older form, ``fit("clean", share=0.5)``, still works and warns."""
    if not given and not options:
        return FULL_STAGE
    if len(given) == 1 and isinstance(given[0], StagePlan) and not options:
        return given[0]
    warnings.warn('fit takes a plan: fit(StagePlan("clean", fraction=0.5)).', DeprecationWarning, stacklevel=3)
    return StagePlan(*given, **current_names(StagePlan, options))
