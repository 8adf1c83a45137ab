"""Measure the premise: how well a low cross-view divergence separates poisoned from clean samples, and when.

The paper's premise is that backdoored answers are abnormally invariant to patch perturbations. Here an ordinary
fine-tuning pauses at some steps to score its training samples in several ways. Nothing about the training changes.
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
from pcvr.defenses.pcvr.scoring import answer_likelihood, view_divergences
from pcvr.errors import PcvrError
from pcvr.evaluation.detection import auroc_of_low
from pcvr.utils.checks import check_choice, check_seed, check_whole, is_whole
from pcvr.utils.renamed import accepts_old_names, current_names
from pcvr.views import PatchView

if TYPE_CHECKING:
    from pcvr.defenses.context import TrainingContext
    from pcvr.models.encode import Batch

MEASURES = ("distribution", "label", "likelihood", "distribution + likelihood", "label + likelihood")
"""What may be low on poisoned samples: the divergence of the whole distributions; that of the label token against all
others; the base model's likelihood of the label; and sums of these. The defence scores by ``"label + likelihood"``."""
_BOTH = ("distribution", "label")
_BEFORE = {"words": "distribution", "told": "label", "known": "likelihood"}
"""Old names of measures, in tables and calls."""


@dataclass(frozen=True)
class ViewSetting:
    """How views are made for one scoring, and how many."""

    view: PatchView = field(default_factory=lambda: PCVR().view, metadata={"help": "how views are made"})
    views: int = field(default=1, metadata={"help": "views of each sample, at least 1"})

    def __post_init__(self) -> None:
        check_whole("views", self.views, 1)


@accepts_old_names
@dataclass(frozen=True)
class ScoringPass:
    """What one scoring found on N training samples.

    Attributes:
        step: optimiser steps done before it.
        setting: how the views were made.
        distribution: ``[views, N]``, divergence of the whole distributions between original and view, summed over the
            answer tokens, nats.
        label: ``[views, N]``, the same of the label token against all others, nats.
        likelihood: ``[N]`` in [0, 1], how likely the base model finds the label.
    """

    RENAMED: ClassVar[Mapping[str, str]] = _BEFORE

    step: int
    setting: ViewSetting
    distribution: np.ndarray
    label: np.ndarray
    likelihood: np.ndarray

    def scores(self, measure: str = "label + likelihood", views: int | None = None) -> np.ndarray:
        """Return the scores ``[N]`` by one measure; low is suspicious.

        Args:
            measure: one of `MEASURES`.
            views: how many of the views are averaged, the first ones; None for all.

        Raises:
            PcvrError: an unknown measure, or more views than were taken.
        """
        measure = current_measure(measure)
        check_choice("measure", measure, MEASURES)
        count = self.setting.views if views is None else views
        check_whole("views", count, 1, self.setting.views)
        score_on, _, added = measure.partition(" + ")
        if score_on == "likelihood":
            return self.likelihood
        divergence: np.ndarray = getattr(self, score_on)[:count].mean(0)
        return divergence + self.likelihood if added else divergence


def current_measure(name: str) -> str:
    """Return the present name of a measure that may have its old one."""
    return " + ".join(_BEFORE.get(part, part) for part in name.split(" + ")) if isinstance(name, str) else name


@dataclass(frozen=True)
class Premise(Defense):
    """No defence: plain fine-tuning that pauses at some steps to score training samples, and changes nothing.

    The results are in ``run.state["premise"]``, a list of `ScoringPass`. No random number of the training is used: each
    scoring has its own generator, so its views do not depend on the other scorings.
    """

    name: ClassVar[str] = "premise"
    plan: Mapping[int, tuple[ViewSetting, ...]] = field(
        default_factory=lambda: {20: (ViewSetting(),)}, metadata={"help": "steps before a scan, and its view settings"}
    )
    rows: tuple[int, ...] = field(default=(), metadata={"help": "indices of the samples to score; none for all"})
    seed: int = field(default=0, metadata={"help": "seed of the views"})

    def __post_init__(self) -> None:
        if not self.plan or not all(is_whole(step) and step >= 0 and settings for step, settings in self.plan.items()):
            raise PcvrError(
                f"plan is {self.plan!r}: give steps from 0, each with a setting or more, as {{20: (ViewSetting(),)}}."
            )
        check_seed(self.seed)

    def begin(self, run: TrainingContext) -> None:
        """Ask the base model how likely it finds each label."""
        rows = self._rows(run)
        if max(rows) >= len(run.data) or min(rows) < 0:
            raise PcvrError(
                f"rows go from {min(rows)} to {max(rows)}, and there are {len(run.data)} samples: give their indices."
            )
        run.state.update(premise=[], premise_known=answer_likelihood(run, rows=rows))

    def loss(self, run: TrainingContext, batch: Batch) -> Tensor:
        """Scan first if a scan is due; then return the plain loss."""
        self._scan(run, run.step)
        return super().loss(run, batch)

    def train(self, run: TrainingContext, fit: Fit) -> None:
        """Train one stage, and scan after its last step if a scan is due there, wherever the training stopped."""
        fit()
        self._scan(run, run.step + 1)

    def _rows(self, run: TrainingContext) -> list[int]:
        return list(self.rows) or list(range(len(run.data)))

    def _scan(self, run: TrainingContext, step: int) -> None:
        found: list[ScoringPass] = run.state["premise"]
        if step in self.plan and all(taken.step != step for taken in found):
            settings = self.plan[step]
            for setting, divergences in zip(settings, take(run, settings, self._rows(run), self.seed), strict=True):
                found.append(ScoringPass(step, setting, *divergences, run.state["premise_known"]))


@torch.no_grad()
def take(
    run: TrainingContext,
    settings: Sequence[ViewSetting],
    rows: Sequence[int],
    seed: int = 0,
    batch_size: int | None = None,
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Score training samples under several view settings; the answers to the originals are computed only once.

    Args:
        run: model and data; its generator and the model's mode are as before when this returns.
        settings: how views are made.
        rows: indices of the samples.
        seed: of the views, the same for every setting.
        batch_size: samples at a time; None for as many as fit the memory, at most 64.

    Returns:
        For each setting ``(distribution [views, N], label [views, N])``, as in `ScoringPass`.
    """
    own = run.generator
    generators = [torch.Generator().manual_seed(seed) for _ in settings]
    chunks: list[list[Tensor]] = [[] for _ in settings]  # each [views, 2, B]
    try:
        for batch in run.batches(rows, 64, size=batch_size, about="score samples"):
            said = run.forward_no_grad(batch)
            for setting, run.generator, kept in zip(settings, generators, chunks, strict=True):
                views = (view_divergences(run, batch, said, setting.view, *_BOTH) for _ in range(setting.views))
                kept.append(torch.stack([torch.stack(view) for view in views]))
    finally:
        run.generator = own
    return [tuple(torch.cat(kept, -1).transpose(0, 1).cpu().numpy()) for kept in chunks]


def table_rows(taken: Iterable[ScoringPass], poisoned: np.ndarray) -> Iterator[dict[str, Any]]:
    """Compute the AUROC of every measure at every scan, for each number of views that is a power of two.

    Args:
        taken: from ``run.state["premise"]``.
        poisoned: ``[N]`` bool, the truth, which no defence knows.

    Yields:
        ``step``, ``operator``, ``fraction``, ``level``, ``views`` and ``auroc`` (measure to AUROC of a low score).
    """
    truth = np.asarray(poisoned, dtype=bool)
    for each in taken:
        view = each.setting.view
        for power in range(each.setting.views.bit_length()):
            scores = {measure: each.scores(measure, 2**power) for measure in MEASURES}
            yield {
                "step": each.step,
                "operator": view.operator,
                "fraction": view.fraction,
                "level": view.level,
                "views": 2**power,
                "auroc": {m: round(auroc_of_low(s[~truth], s[truth]), 4) for m, s in scores.items()},
            }


def rows_of(run: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the rows that `table_rows` gave for a run of a table, with the present names of their entries."""
    return [
        {**current_names(PatchView, row), "auroc": {current_measure(m): value for m, value in row["auroc"].items()}}
        for row in run["premise"]
    ]
