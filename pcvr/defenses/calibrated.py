"""Defences that train plainly, set a threshold on trusted samples, and act on what exceeds it at test time."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from math import ceil, isnan
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar, cast

import numpy as np

from pcvr.defenses.base import Defense
from pcvr.errors import PcvrError
from pcvr.models.budget import Costs, grouped
from pcvr.utils.checks import check_fields, is_number

if TYPE_CHECKING:
    from pcvr.data.sample import Dataset
    from pcvr.defenses.base import Fit, Generate
    from pcvr.defenses.context import TrainingContext
    from pcvr.models.encode import Batch
    from pcvr.models.vlm import VisionLanguageModel

MOST = 64
"""Inputs that are read together at most."""


@dataclass(frozen=True)
class Calibration:
    """What a defence learns from trusted samples; one that learns more derives from it.

    Attributes:
        threshold: score above which an input counts as triggered; not NaN.
        scores: float64 ``[N]``, of the trusted samples.
    """

    threshold: float
    scores: np.ndarray

    def __post_init__(self) -> None:
        check_fields(self)
        if isnan(self.threshold):
            raise PcvrError("threshold is nan, which no score exceeds: check that the model's answers are finite.")


Known = TypeVar("Known", bound=Calibration)


@dataclass(frozen=True)
class CalibratedDefense(Defense, Generic[Known]):
    """Plain fine-tuning, then a threshold from trusted samples. A derived defence says how to score and to answer.

    Attributes:
        kept: the class of what is learned from trusted samples.
    """

    needs_clean: ClassVar[bool] = True
    kept: ClassVar[type[Calibration]] = Calibration

    @property
    @abstractmethod
    def false_positive_rate(self) -> float:
        """Fraction of the trusted samples above the threshold, in (0, 1)."""

    @abstractmethod
    def learn(self, vlm: VisionLanguageModel, clean: Dataset) -> tuple[np.ndarray, dict[str, Any]]:
        """Return the scores ``[N]`` of N trusted samples, and the further fields of `kept`."""

    @abstractmethod
    def respond(
        self,
        vlm: VisionLanguageModel,
        images: Sequence[Any],
        prompts: Sequence[str],
        generate: Generate,
        known: Known,
    ) -> list[str]:
        """Answer N inputs, those above the threshold in the defence's own way; arguments as for `answer`."""

    def check_fractions(self, *names: str) -> None:
        """Raise unless these options lie in (0, 1)."""
        for name in names:
            value = getattr(self, name)
            if not is_number(value) or not 0 < value < 1:
                raise PcvrError(f"{name} must lie in (0, 1), got {value!r}.")

    @property
    def starts_plain(self) -> bool:
        """See `Defense.starts_plain`."""
        return True

    def train(self, run: TrainingContext, fit: Fit) -> None:
        """Train plainly, then calibrate on ``run.clean``; the calibration goes into ``run.state``."""
        fit()
        if run.clean is None:
            raise PcvrError(f"defence {self.name!r} needs clean data: give finetune(clean=...) some trusted samples.")
        run.state.update(self.calibrate(run.vlm, run.clean.data))

    def notes(self, run: TrainingContext) -> tuple[str, ...]:
        """Say whether the calibration is missing, or rests on too few trusted samples."""
        known = run.state.get(self.name)
        if known is None:
            return (
                f"Defence {self.name!r} was stopped before its calibration: its model answers with guard=False only.",
            )
        count, rate = len(known.scores), self.false_positive_rate
        if count * rate >= 1:
            return ()
        return (
            f"Defence {self.name!r} had few trusted samples ({count}) for a false-positive rate of {rate:g}, less than "
            f"one sample: give at least {ceil(1 / rate)}, or expect another rate on clean inputs.",
        )

    def calibrate(self, vlm: VisionLanguageModel, clean: Dataset) -> dict[str, Any]:
        """Set the threshold for a model that is trained already.

        Args:
            vlm: the model; a guard that it carries is left out.
            clean: trusted samples, at least two; a false-positive rate of 1 % needs some hundred. Their answers are
                not used.

        Returns:
            What `answer` and `pcvr.evaluate` take as ``state``. ``vlm.guard = Guard(rule, state)``, with
            `pcvr.models.guard.Guard`, lets the model answer through it from then on.

        Raises:
            PcvrError: fewer than two samples, or scores that are NaN.
        """
        if len(clean) < 2:
            raise PcvrError(f"clean has {len(clean)} samples: give at least 2, better some hundred.")
        scores, learned = self.learn(replace(vlm, guard=None), clean)
        threshold = float(np.quantile(scores, 1 - self.false_positive_rate))
        return {self.name: self.kept(threshold, scores, **learned)}

    def answer(
        self,
        vlm: VisionLanguageModel,
        images: Sequence[Any],
        prompts: Sequence[str],
        generate: Generate,
        state: Mapping[str, Any] | None = None,
    ) -> list[str]:
        """Answer N inputs through the defence; arguments as for `Defense.answer`.

        Raises:
            PcvrError: no calibration in `state`, or one of another model.
        """
        return self.respond(vlm, images, prompts, generate, self.calibration(state))

    def calibration(self, state: Mapping[str, Any] | None) -> Known:
        """Return the calibration in `state`.

        Raises:
            PcvrError: there is none.
        """
        known = state.get(self.name) if isinstance(state, Mapping) else None
        if not isinstance(known, self.kept):
            raise PcvrError(
                f"defence {self.name!r} is not calibrated: give state=rule.calibrate(vlm, clean) or the run.state of a "
                "fine-tuning with it, or guard=False for the model's own answers."
            )
        return cast("Known", known)


def in_batches(
    vlm: VisionLanguageModel, rows: Iterable[tuple[int, Batch]], *, eager: bool = False
) -> Iterator[list[tuple[int, Batch]]]:
    """Yield numbered encoded inputs in batches that fit the memory, at most `MOST` each.

    Args:
        vlm: the model that reads them.
        rows: numbers and inputs.
        eager: whether attention weights will be written out.
    """
    costs = Costs.of(vlm)
    costs = replace(costs, eager=eager or costs.eager)
    return grouped(rows, lambda each: costs.reading(each[1], len(each[1]["input_ids"])), MOST, vlm.device)
