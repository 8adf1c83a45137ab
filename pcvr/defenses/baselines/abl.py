"""Anti-Backdoor Learning (arXiv 2110.11571): isolate the samples that are learned fastest, and later unlearn them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, relu

from pcvr.defenses.base import Defense, Fit, StagePlan
from pcvr.defenses.pcvr.gate import Gate
from pcvr.defenses.registry import register_defense
from pcvr.errors import PcvrError
from pcvr.utils.checks import check_choice, check_number

if TYPE_CHECKING:
    from pcvr.defenses.context import TrainingContext
    from pcvr.models.encode import Batch
    from pcvr.models.forward import AnswerLogits

PER = ("batch", "sample")


@register_defense
@dataclass(frozen=True)
class ABL(Defense):
    """Isolate the samples of lowest loss early on, train on the others, then unlearn the isolated ones.

    Li et al. 2021 observe that a backdoor is learned faster than the task. With ``l`` the loss of a sample, here the
    mean cross-entropy of its answer tokens in nats, the stages are

    - ``isolate``: local gradient ascent, ``sign(l - gamma) l``. Below `gamma` the sign flips and pushes the loss up
      again, so ordinary samples stay near `gamma` while backdoored ones still fall below it. At the end, the fraction
      `portion` of the samples with the lowest loss is isolated;
    - ``train``: ordinary fine-tuning on all others;
    - ``unlearn``: global gradient ascent, ``mean l over the others - mean l over the isolated``.

    From the paper: both losses. From the paper and the authors' code: ``gamma = 0.5`` and one per cent isolated. They
    chose `gamma` for images in ten classes; we keep it, although the loss of a caption has another scale. The paper's
    formula takes the sign of each sample's loss, which holds backdoored samples at `gamma` too. The authors' code takes
    the sign of the mean loss of a batch, and so does the default here.

    Ours: the ascent is bounded. ``-mean l`` has no minimum and would continue until the model is destroyed. We use
    ``mean relu(ceiling - l)``, which has no gradient for a sample whose loss has reached `ceiling`. The authors' code
    ascends on the isolated samples alone. Here the ``unlearn`` stage draws half of its samples from them, repeated, and
    half from the others, so that the model keeps the task as in the paper's formula. The lengths of the stages are
    ours: together they have as many steps as plain fine-tuning. Each has its own warm-up and decay.

    Needs no clean data, but one more pass over the data after the ``isolate`` stage. ``run.state`` gets ``isolated``, a
    bool tensor ``[N]``, and an entry in ``scorings`` with the loss of every sample.

    Attributes:
        gamma: loss in nats below which the sign flips, above 0.
        per: whether the sign is that of the mean loss of a ``"batch"`` or of each ``"sample"``.
        portion: fraction of the samples that is isolated, in ``(0, 1)``; at least one sample is.
        early: fraction of the steps in the first stage, in ``(0, 1)``.
        late: fraction of the steps in the last stage, in ``(0, 1)``; with `early` below 1.
        late_rate: factor on the learning rate in the last stage, above 0.
        ceiling: loss in nats at which an answer counts as unlearned, above 0.
    """

    name: ClassVar[str] = "abl"
    gamma: float = field(default=0.5, metadata={"help": "loss in nats below which ascent starts (paper: 0.5)"})
    per: str = field(default="batch", metadata={"help": "sign of each sample (paper's formula) or batch (its code)"})
    portion: float = field(default=0.01, metadata={"help": "fraction of the samples isolated, (0, 1) (paper: 0.01)"})
    early: float = field(default=0.2, metadata={"help": "fraction of the steps before isolating, (0, 1) (ours)"})
    late: float = field(default=0.2, metadata={"help": "fraction of the steps that unlearn, (0, 1) (ours)"})
    late_rate: float = field(default=0.25, metadata={"help": "factor on their learning rate, above 0 (ours)"})
    ceiling: float = field(default=3.0, metadata={"help": "loss in nats at which ascent ends (ours)"})

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("gamma", "late_rate", "ceiling"):
            check_number(name, getattr(self, name), 0, 1e6, above=True)
        check_choice("choice of per", self.per, PER)
        for name in ("portion", "early", "late"):
            check_number(name, getattr(self, name), 0, 1, above=True)
            if getattr(self, name) == 1:
                raise PcvrError(f"{name} is 1: give a fraction below 1, so that something is left.")
        if self.early + self.late >= 1:
            raise PcvrError(
                f"early and late are {self.early} and {self.late}: together they must lie below 1, "
                "since the other steps are the stage between them."
            )

    def begin(self, run: TrainingContext) -> None:
        """Start with no sample isolated.

        Raises:
            PcvrError: fewer than two samples, one to isolate and one to keep.
        """
        if len(run.data) < 2:
            raise PcvrError(
                f"defence 'abl' got {len(run.data)} sample: give at least 2, one to isolate and one to keep."
            )
        run.state.update(isolated=torch.zeros(len(run.data), dtype=torch.bool), scorings=[])

    def loss(self, run: TrainingContext, batch: Batch) -> Tensor:
        """Return the loss of the current stage, a scalar."""
        losses = sample_losses(run.forward(batch))
        if run.stage == "isolate":
            return flooded(losses if self.per == "sample" else losses.mean()[None], self.gamma)
        if run.stage == "unlearn":
            isolated = run.state["isolated"][batch["index"].cpu()].to(losses.device)
            return unlearning(losses, isolated, self.ceiling)
        return losses.mean()

    def train(self, run: TrainingContext, fit: Fit) -> None:
        """Isolate, train on the others, unlearn."""
        fit(StagePlan("isolate", fraction=self.early))
        losses = all_losses(run)
        isolated = lowest(losses, self.portion)
        run.state["isolated"] = torch.from_numpy(isolated)
        run.state["scorings"].append({"step": run.step, "scores": losses, "gate": _as_gate(losses, isolated)})
        kept, taken = np.flatnonzero(~isolated).tolist(), np.flatnonzero(isolated).tolist()
        fit(StagePlan(fraction=1 - self.early - self.late, rows=kept))
        repeated = taken * max(1, len(kept) // len(taken))
        fit(StagePlan("unlearn", fraction=self.late, rate=self.late_rate, rows=kept + repeated))

    def notes(self, run: TrainingContext) -> tuple[str, ...]:
        """Say whether the portion is less than one sample."""
        if self.portion * (count := len(run.data)) >= 1:
            return ()
        return (
            f"Defence 'abl' isolated a sample although its portion, {self.portion:g} of {count} samples, is less than "
            "one: give more data, or a larger portion.",
        )


def sample_losses(said: AnswerLogits, defense: str = "abl") -> Tensor:
    """Return the mean cross-entropy of each sample's answer tokens: ``[B]``, nats.

    Raises:
        PcvrError: a sample has no answer token; its mean would be NaN and rank as the lowest loss.
    """
    tokens = said.sample_sum(torch.ones_like(said.targets, dtype=torch.float))
    if not tokens.all():
        raise PcvrError(
            f"{int((tokens == 0).sum())} of {said.samples} samples of a batch have no answer token: "
            f"defence {defense!r} ranks samples by the loss of their answers, so give each sample one."
        )
    return said.sample_mean(cross_entropy(said.logits, said.targets, reduction="none"))


def flooded(losses: Tensor, gamma: float) -> Tensor:
    """Return the paper's first loss, local gradient ascent: ``mean sign(l - gamma) l`` of losses ``[n]``, a scalar.

    Above `gamma` its gradient is that of the loss, below `gamma` the opposite.
    """
    return ((losses.detach() - gamma).sign() * losses).mean()


def unlearning(losses: Tensor, isolated: Tensor, ceiling: float) -> Tensor:
    """Return the paper's second loss with a bounded ascent: ``mean_kept l + mean_isolated relu(ceiling - l)``.

    Args:
        losses: ``[B]``, nats.
        isolated: bool ``[B]``; in a batch with only one of the two kinds, the other term is 0.
        ceiling: loss at and above which an isolated sample has no gradient, nats.

    Returns:
        A scalar, 0 or more.
    """
    away = isolated.to(losses.dtype)
    stay = 1 - away
    kept = (stay * losses).sum() / stay.sum().clamp_min(1)
    return kept + (away * relu(ceiling - losses)).sum() / away.sum().clamp_min(1)


@torch.no_grad()
def all_losses(run: TrainingContext, batch_size: int | None = None) -> np.ndarray:
    """Return the current loss of every training sample: float64 ``[N]``, nats."""
    rows = run.own_rows(len(run.data))
    found = [sample_losses(run.forward_no_grad(batch)) for batch in run.batches(rows, 64, size=batch_size)]
    return run.gather_rows(rows, torch.cat(found)).cpu().double().numpy()


def lowest(losses: np.ndarray, portion: float) -> np.ndarray:
    """Mark the fraction `portion` of the ``[N]`` losses that is lowest: bool ``[N]``, at least one and not all."""
    count = min(max(1, round(portion * len(losses))), len(losses) - 1)
    taken = np.zeros(len(losses), dtype=bool)
    taken[np.argsort(losses, kind="stable")[:count]] = True
    return taken


def _as_gate(losses: np.ndarray, isolated: np.ndarray) -> Gate:
    """Return the isolated samples as a gate, for tables of hits and false positives."""
    low, high = losses[isolated], losses[~isolated]
    spread = np.sqrt((low.var() * len(low) + high.var() * len(high)) / len(losses))
    separation = float((high.mean() - low.mean()) / spread) if spread > 0 else 0.0
    return Gate(isolated.astype(float), separation, float(isolated.mean()), True)
