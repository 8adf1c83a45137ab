"""The premise, measured: how well a low cross-view divergence tells poisoned from clean samples, and when.

The paper's premise is that backdoored answers are abnormally invariant to patch perturbations. Here an ordinary
fine-tuning is interrupted to score its training samples in several ways; nothing about the training changes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from pcvr.defenses.base import Defense, Fit
from pcvr.defenses.pcvr import PCVR
from pcvr.defenses.pcvr.config import OVER
from pcvr.defenses.pcvr.scoring import divergence_of, known
from pcvr.errors import PcvrError
from pcvr.evaluation.detection import auroc_of_low
from pcvr.utils.checks import check_choice, check_seed, check_whole, is_whole
from pcvr.views import PatchView

if TYPE_CHECKING:
    from pcvr.defenses.context import TrainingContext
    from pcvr.models.encode import Batch

MEASURES = ("words", "told", "known", "words + known", "told + known")
"""What may be low on poisoned samples: the divergence of the whole distributions, that of the told word against all
others, the base model's likelihood of the answer, and sums of both (what the defence scores is ``"told + known"``)."""


@dataclass(frozen=True)
class ViewSetting:
    """How views are made for one scoring, and how many."""

    view: PatchView = field(default_factory=lambda: PCVR().view, metadata={"help": "how views are made"})
    views: int = field(default=1, metadata={"help": "views of each sample, from 1 up"})

    def __post_init__(self) -> None:
        check_whole("views", self.views, 1)


@dataclass(frozen=True)
class ScoringPass:
    """What one scoring found on N training samples.

    Attributes:
        step: optimiser steps done before it.
        setting: how the views were made.
        words: ``[views, N]``, divergence of the whole distributions between original and view, summed over the answer's
            tokens, nats.
        told: ``[views, N]``, the same of the told word against all others, nats.
        known: ``[N]`` in [0, 1], how likely the answer is to the base model.
    """

    step: int
    setting: ViewSetting
    words: np.ndarray
    told: np.ndarray
    known: np.ndarray

    def scores(self, measure: str = "told + known", views: int | None = None) -> np.ndarray:
        """The scores ``[N]`` of one measure; low is suspicious.

        Args:
            measure: one of `MEASURES`.
            views: how many of the views are averaged over, the first ones; None for all.

        Raises:
            PcvrError: an unknown measure, or more views than were taken.
        """
        check_choice("measure", measure, MEASURES)
        count = self.setting.views if views is None else views
        check_whole("views", count, 1, self.setting.views)
        over, _, rest = measure.partition(" + ")
        if over == "known":
            return self.known
        divergence: np.ndarray = getattr(self, over)[:count].mean(0)
        return divergence + self.known if rest else divergence


@dataclass(frozen=True)
class Premise(Defense):
    """No defence: plain fine-tuning, interrupted at some steps to score training samples. It only looks.

    What it takes lies in ``run.state["premise"]``, a list of `ScoringPass`. It draws no random number of
    the training: each scoring has its own generator, so its views do not depend on what else is measured.
    """

    name: ClassVar[str] = "premise"
    plan: Mapping[int, tuple[ViewSetting, ...]] = field(
        default_factory=lambda: {20: (ViewSetting(),)}, metadata={"help": "steps done before a look, and what it takes"}
    )
    rows: tuple[int, ...] = field(default=(), metadata={"help": "indices of the samples to score; none for all"})
    seed: int = field(default=0, metadata={"help": "of the views"})

    def __post_init__(self) -> None:
        if not self.plan or not all(is_whole(step) and step >= 0 and settings for step, settings in self.plan.items()):
            raise PcvrError(
                f"plan is {self.plan!r}: give steps from 0 up, each with at least one setting, as {{20: (Setting(),)}}."
            )
        check_seed(self.seed)

    def begin(self, run: TrainingContext) -> None:
        """Ask the base model how likely it holds each answer."""
        rows = self._rows(run)
        if max(rows) >= len(run.data) or min(rows) < 0:
            raise PcvrError(f"rows go from {min(rows)} to {max(rows)}, and there are {len(run.data)} samples.")
        run.state.update(premise=[], premise_known=known(run, rows=rows))

    def loss(self, run: TrainingContext, batch: Batch) -> Tensor:
        """The plain loss; before it, a look if it is time for one."""
        self._look(run, run.step)
        return super().loss(run, batch)

    def train(self, run: TrainingContext, fit: Fit) -> None:
        """One stage, and a look behind its last step, wherever it was stopped."""
        fit()
        self._look(run, run.step + 1)

    def _rows(self, run: TrainingContext) -> list[int]:
        return list(self.rows) or list(range(len(run.data)))

    def _look(self, run: TrainingContext, step: int) -> None:
        found: list[ScoringPass] = run.state["premise"]
        if step in self.plan and all(taken.step != step for taken in found):
            settings = self.plan[step]
            for setting, (words, told) in zip(settings, take(run, settings, self._rows(run), self.seed), strict=True):
                found.append(ScoringPass(step, setting, words, told, run.state["premise_known"]))


@torch.no_grad()
def take(
    run: TrainingContext,
    settings: Sequence[ViewSetting],
    rows: Sequence[int],
    seed: int = 0,
    batch_size: int | None = None,
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Score training samples in several ways; what the model says of the originals is computed once for all.

    Args:
        run: model and data; its generator and the model's mode are as before when this returns.
        settings: how views are made.
        rows: indices of the samples.
        seed: of the views, the same for every setting.
        batch_size: samples at a time; None for as many as fit the memory, at most 64.

    Returns:
        For each setting ``(words [views, N], told [views, N])``, as in `ScoringPass`.
    """
    own = run.generator
    generators = [torch.Generator().manual_seed(seed) for _ in settings]
    chunks: list[list[Tensor]] = [[] for _ in settings]
    try:
        for batch in run.batches(rows, 64, size=batch_size, about="score samples"):
            said = run.forward_no_grad(batch)
            for setting, run.generator, kept in zip(settings, generators, chunks, strict=True):
                seen = [run.forward_no_grad(run.view(batch, setting.view)) for _ in range(setting.views)]
                kept.append(
                    torch.stack([torch.stack([divergence_of(said, s, "js", over) for s in seen]) for over in OVER])
                )
    finally:
        run.generator = own
    whole = [dict(zip(OVER, torch.cat(kept, -1).cpu().numpy(), strict=True)) for kept in chunks]
    return [(each["words"], each["told"]) for each in whole]


def table_rows(taken: Iterable[ScoringPass], poisoned: np.ndarray) -> Iterator[dict[str, Any]]:
    """AUROC of every measure at every look, for each number of views that is a power of two.

    Args:
        taken: from ``run.state["premise"]``.
        poisoned: ``[N]`` bool, the truth; no defence has it.

    Yields:
        ``step``, ``operator``, ``share``, ``level``, ``views`` and ``auroc`` (measure to AUROC of a low score).
    """
    truth = np.asarray(poisoned, dtype=bool)
    for each in taken:
        view = each.setting.view
        for power in range(each.setting.views.bit_length()):
            scores = {measure: each.scores(measure, 2**power) for measure in MEASURES}
            yield {
                "step": each.step,
                "operator": view.operator,
                "share": view.share,
                "level": view.level,
                "views": 2**power,
                "auroc": {m: round(auroc_of_low(s[~truth], s[truth]), 4) for m, s in scores.items()},
            }
