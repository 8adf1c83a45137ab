"""The premise, measured: how well a low cross-view divergence tells poisoned from clean samples, and when.

The paper's premise is that backdoored answers are abnormally invariant to patch perturbations. Here an ordinary
fine-tuning is interrupted to score its training samples in several ways; nothing about the training changes.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from pcvr.analysis.invariance import auroc_of_low
from pcvr.defenses.base import Defense, Fit
from pcvr.defenses.pcvr.defense import PCVR
from pcvr.defenses.pcvr.gate import fit_gate
from pcvr.defenses.pcvr.scoring import OVER, divergence_of, known
from pcvr.errors import PcvrError
from pcvr.training.backdoor_watch import BackdoorWatch
from pcvr.utils.checks import check_choice, check_number, check_seed, check_whole, is_whole
from pcvr.views import PatchView

if TYPE_CHECKING:
    from pcvr.defenses.context import Run
    from pcvr.models.encode import Batch

MEASURES = ("words", "told", "known", "words + known", "told + known")
"""What may be low on poisoned samples: the divergence of the whole distributions, that of the told word against all
others, the base model's likelihood of the answer, and sums of both (what the defence scores is ``"told + known"``)."""


@dataclass(frozen=True)
class Setting:
    """How views are made for one scoring, and how many."""

    view: PatchView = field(default_factory=lambda: PCVR().view, metadata={"help": "how views are made"})
    views: int = field(default=1, metadata={"help": "views of each sample, from 1 up"})

    def __post_init__(self) -> None:
        check_whole("views", self.views, 1)


@dataclass(frozen=True)
class Taken:
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
    setting: Setting
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

    What it takes lies in ``run.state["premise"]``, a list of `Taken`. No random number of the training is drawn: each
    scoring has a generator of its own, so its views do not depend on what else is measured.
    """

    name: ClassVar[str] = "premise"
    plan: Mapping[int, tuple[Setting, ...]] = field(
        default_factory=lambda: {20: (Setting(),)}, metadata={"help": "steps done before a look, and what it takes"}
    )
    rows: tuple[int, ...] = field(default=(), metadata={"help": "indices of the samples to score; none for all"})
    seed: int = field(default=0, metadata={"help": "of the views"})

    def __post_init__(self) -> None:
        if not self.plan or not all(is_whole(step) and step >= 0 and settings for step, settings in self.plan.items()):
            raise PcvrError(
                f"plan is {self.plan!r}: give steps from 0 up, each with at least one setting, as {{20: (Setting(),)}}."
            )
        check_seed(self.seed)

    def begin(self, run: Run) -> None:
        """Ask the base model how likely it holds each answer."""
        rows = self._rows(run)
        if max(rows) >= len(run.data) or min(rows) < 0:
            raise PcvrError(f"rows go from {min(rows)} to {max(rows)}, and there are {len(run.data)} samples.")
        run.state.update(premise=[], premise_known=known(run, rows=rows))

    def loss(self, run: Run, batch: Batch) -> Tensor:
        """The plain loss; before it, a look if it is time for one."""
        self._look(run, run.step)
        return super().loss(run, batch)

    def train(self, run: Run, fit: Fit) -> None:
        """One stage, and a look behind its last step, wherever it was stopped."""
        fit()
        self._look(run, run.step + 1)

    def _rows(self, run: Run) -> list[int]:
        return list(self.rows) or list(range(len(run.data)))

    def _look(self, run: Run, step: int) -> None:
        found: list[Taken] = run.state["premise"]
        if step in self.plan and all(taken.step != step for taken in found):
            settings = self.plan[step]
            for setting, (words, told) in zip(settings, take(run, settings, self._rows(run), self.seed), strict=True):
                found.append(Taken(step, setting, words, told, run.state["premise_known"]))


@torch.no_grad()
def take(
    run: Run, settings: Sequence[Setting], rows: Sequence[int], seed: int = 0, batch_size: int | None = None
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Score training samples in several ways; what the model says of the originals is computed once for all.

    Args:
        run: model and data; its generator and the model's mode are as before when this returns.
        settings: how views are made.
        rows: indices of the samples.
        seed: of the views, the same for every setting.
        batch_size: samples at a time; None for as many as fit the memory, at most 64.

    Returns:
        For each setting ``(words [views, N], told [views, N])``, as in `Taken`.
    """
    own = run.generator
    generators = [torch.Generator().manual_seed(seed) for _ in settings]
    chunks: list[list[Tensor]] = [[] for _ in settings]
    try:
        for batch in run.batches(rows, 64, size=batch_size, about="score samples"):
            said = run.read(batch)
            for setting, run.generator, kept in zip(settings, generators, chunks, strict=True):
                seen = [run.read(run.view(batch, setting.view)) for _ in range(setting.views)]
                kept.append(
                    torch.stack([torch.stack([divergence_of(said, s, "js", over) for s in seen]) for over in OVER])
                )
    finally:
        run.generator = own
    whole = [dict(zip(OVER, torch.cat(kept, -1).cpu().numpy(), strict=True)) for kept in chunks]
    return [(each["words"], each["told"]) for each in whole]


def table_rows(taken: Iterable[Taken], poisoned: np.ndarray) -> Iterator[dict[str, Any]]:
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


def flagged_by_gate(scores: np.ndarray, poisoned: np.ndarray) -> tuple[float, float]:
    """What the defence's gate makes of scores: the share of the poison that it suspects, and of the clean samples.

    Args:
        scores: ``[N]``, low is suspicious.
        poisoned: ``[N]`` bool, the truth; some are and some are not.

    Returns:
        Recall and rate of false alarms, both 0 to 1; both 0 where the gate finds no low cluster.
    """
    truth = np.asarray(poisoned, dtype=bool)
    if truth.all() or not truth.any():
        raise PcvrError(f"{truth.sum()} of {len(truth)} samples are poisoned: give some of each kind.")
    flagged = fit_gate(scores).suspicion > 0.5
    return float(flagged[truth].mean()), float(flagged[~truth].mean())


def auroc_error(auroc: float, clean: int, suspects: int) -> float:
    """Half the width of an AUROC's 95 % interval, by the formula of Hanley and McNeil (Radiology 143, 1982).

    It takes both groups for samples of exponential scores; near 0 and 1 it is too sure of itself.

    Args:
        auroc: 0 to 1.
        clean: how many clean values there were, from 1 up.
        suspects: how many suspect ones.
    """
    check_number("auroc", auroc, 0, 1)
    check_whole("clean", clean, 1)
    check_whole("suspects", suspects, 1)
    two_suspects = auroc / (2 - auroc)  # the chance that two random suspects both lie below one random clean value
    two_clean = 2 * auroc**2 / (1 + auroc)
    variance = auroc * (1 - auroc) + (suspects - 1) * (two_suspects - auroc**2) + (clean - 1) * (two_clean - auroc**2)
    return 1.96 * math.sqrt(max(variance, 0.0) / (clean * suspects))


def question_kind(prompt: str, words: int = 2) -> str:
    """The first words of a question, by which VQA data sort their questions: ``"how many"``, ``"what colour"``."""
    return " ".join(prompt.lower().split()[:words])


def by_kind(prompts: Sequence[str], scores: np.ndarray, least: int = 5) -> dict[str, np.ndarray]:
    """Scores sorted by the kind of question, the kind with the lowest median first.

    Args:
        prompts: N questions.
        scores: ``[N]``.
        least: kinds with fewer questions are put together as ``"other"``, the last.

    Raises:
        PcvrError: there are not as many scores as questions.
    """
    if len(prompts) != len(scores):
        raise PcvrError(f"{len(prompts)} questions and {len(scores)} scores: give one score for each question.")
    groups: dict[str, list[float]] = {}
    for prompt, score in zip(prompts, scores, strict=True):
        groups.setdefault(question_kind(prompt), []).append(float(score))
    rare = [kind for kind, values in groups.items() if len(values) < least]
    other = [value for kind in rare for value in groups.pop(kind)]
    found = {kind: np.array(groups[kind]) for kind in sorted(groups, key=lambda kind: float(np.median(groups[kind])))}
    return found | ({"other": np.array(other)} if other else {})


class WatchAt(BackdoorWatch):
    """A `BackdoorWatch` that looks after given steps only."""

    def __init__(self, *args: Any, steps: Sequence[int], **kwargs: Any) -> None:
        """
        Args:
            *args: as for `BackdoorWatch`.
            steps: how many steps are done before each look.
            **kwargs: as for `BackdoorWatch`.
        """
        super().__init__(*args, **kwargs)
        self.steps = frozenset(steps)

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Forget an earlier training."""
        self.points = []

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Look when it is time."""
        if state.global_step in self.steps:
            self._look(kwargs["model"], state.global_step)

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Nothing more."""
