"""Anti-Backdoor Learning (arXiv 2110.11571): what is learned first and best is isolated, and later unlearned."""

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
    """Isolate the samples of lowest loss early on, train on the others, then take the isolated ones' answers back.

    Li et al. 2021 observe that a backdoor is learned faster than the task. With ``l`` the loss of a sample, here the
    mean cross-entropy of its answer tokens in nats, the stages are

    - ``isolate``: local gradient ascent, ``sign(l - gamma) l``: below `gamma` the sign turns and the loss is pushed up
      again, so that ordinary samples stay near `gamma` while backdoored ones still fall below it. At the end the
      `portion` of the samples with the lowest loss is isolated;
    - ``train``: ordinary fine-tuning on all others;
    - ``unlearn``: global gradient ascent, ``mean l over the others - mean l over the isolated``.

    From the paper: both losses; from it and the authors' code: ``gamma = 0.5`` and one per cent isolated. `gamma` was
    chosen for pictures in ten classes; it is kept, though a caption's loss is another. The paper's formula takes the
    sign sample by sample, which holds backdoored samples at `gamma` too; the authors' code takes it of the mean loss of
    a batch, as the default here does.

    Ours: the ascent is bounded. ``-mean l`` has no least value, and would go on until the model is destroyed; it
    becomes ``mean relu(ceiling - l)``, which leaves a sample alone once its loss is at `ceiling`. The authors' code
    ascends on the isolated samples alone; here they and the others each fill half of what the ``unlearn`` stage draws
    from, the isolated ones repeated, so that the task is held as in the paper's formula. The lengths of the stages are
    ours: together they have as many steps as plain fine-tuning. Each has a warm-up and decay of its own.

    Needs no clean data. After the ``isolate`` stage one pass over the data is added. ``run.state`` gets ``isolated``, a
    bool tensor ``[N]``, and an entry in ``scorings`` with every sample's loss.

    Attributes:
        gamma: loss in nats below which the sign turns, above 0.
        per: what the sign is taken of, the mean of a ``"batch"`` or each ``"sample"``.
        portion: share of the samples that is isolated, in ``(0, 1)``; at least one sample is.
        early: share of the steps in the first stage, in ``(0, 1)``.
        late: share of the steps in the last stage, in ``(0, 1)``; with `early` below 1.
        late_rate: factor on the learning rate in the last stage, above 0.
        ceiling: loss in nats at which an answer counts as unlearned, above 0.
    """

    name: ClassVar[str] = "abl"
    gamma: float = field(default=0.5, metadata={"help": "loss in nats below which ascent sets in (paper: 0.5)"})
    per: str = field(default="batch", metadata={"help": "sign of each sample (paper's formula) or batch (its code)"})
    portion: float = field(default=0.01, metadata={"help": "share of the samples isolated, (0, 1) (paper: 0.01)"})
    early: float = field(default=0.2, metadata={"help": "share of steps before isolating, (0, 1) (ours)"})
    late: float = field(default=0.2, metadata={"help": "share of steps that unlearn, (0, 1) (ours)"})
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
                raise PcvrError(f"{name} is 1: give a share below it, so that something is left.")
        if self.early + self.late >= 1:
            raise PcvrError(
                f"early and late are {self.early} and {self.late}: together they must lie below 1, "
                "the rest of the steps being the stage between them."
            )

    def begin(self, run: TrainingContext) -> None:
        """Nothing is isolated yet.

        Raises:
            PcvrError: one sample, of which none can be isolated and one kept.
        """
        if len(run.data) < 2:
            raise PcvrError(
                f"defence 'abl' got {len(run.data)} sample: give at least 2, one to isolate and one to keep."
            )
        run.state.update(isolated=torch.zeros(len(run.data), dtype=torch.bool), scorings=[])

    def loss(self, run: TrainingContext, batch: Batch) -> Tensor:
        """The loss of the stage under way, a scalar."""
        losses = sample_losses(run.forward(batch))
        if run.stage == "isolate":
            return flooded(losses if self.per == "sample" else losses.mean()[None], self.gamma)
        if run.stage == "unlearn":
            isolated = run.state["isolated"][batch["index"].cpu()].to(losses.device)
            return unlearning(losses, isolated, self.ceiling)
        return losses.mean()

    def train(self, run: TrainingContext, fit: Fit) -> None:
        """Isolate, train on the rest, unlearn."""
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
        """Whether the portion came to less than a sample."""
        if self.portion * (count := len(run.data)) >= 1:
            return ()
        return (
            f"Defence 'abl' isolated a sample although its portion, {self.portion:g} of {count} samples, is less than "
            "one: give more data, or a larger portion.",
        )


def sample_losses(said: AnswerLogits) -> Tensor:
    """Mean cross-entropy of each sample's answer tokens: ``[B]``, nats.

    Raises:
        PcvrError: a sample without any answer token; its mean is no number and would pass for the lowest loss.
    """
    told = said.sample_sum(torch.ones_like(said.targets, dtype=torch.float))
    if not told.all():
        raise PcvrError(
            f"{int((told == 0).sum())} of {said.samples} samples of a batch have no answer token: "
            "defence 'abl' ranks samples by the loss of their answers, so give each one."
        )
    return said.sample_mean(cross_entropy(said.logits, said.targets, reduction="none"))


def flooded(losses: Tensor, gamma: float) -> Tensor:
    """Local gradient ascent (the paper's first loss): ``mean sign(l - gamma) l`` of some losses ``[n]``, a scalar.

    Its gradient is that of the loss above `gamma`, and the opposite below.
    """
    return ((losses.detach() - gamma).sign() * losses).mean()


def unlearning(losses: Tensor, isolated: Tensor, ceiling: float) -> Tensor:
    """Global gradient ascent (the paper's second loss), bounded: ``mean_kept l + mean_isolated relu(ceiling - l)``.

    Args:
        losses: ``[B]``, nats.
        isolated: bool ``[B]``; a batch may hold only one of the two kinds, whose term then stands alone.
        ceiling: loss from which on an isolated sample has no gradient, nats.

    Returns:
        A scalar, 0 or more.
    """
    away = isolated.to(losses.dtype)
    stay = 1 - away
    kept = (stay * losses).sum() / stay.sum().clamp_min(1)
    return kept + (away * relu(ceiling - losses)).sum() / away.sum().clamp_min(1)


@torch.no_grad()
def all_losses(run: TrainingContext, batch_size: int | None = None) -> np.ndarray:
    """The loss of every training sample as the model is now: float64 ``[N]``, nats."""
    rows = run.share(len(run.data))
    found = [sample_losses(run.forward_no_grad(batch)) for batch in run.batches(rows, 64, size=batch_size)]
    return run.gather_rows(rows, torch.cat(found)).cpu().double().numpy()


def lowest(losses: np.ndarray, portion: float) -> np.ndarray:
    """The `portion` of the ``[N]`` losses that is lowest: bool ``[N]``, at least one and not all of them."""
    count = min(max(1, round(portion * len(losses))), len(losses) - 1)
    taken = np.zeros(len(losses), dtype=bool)
    taken[np.argsort(losses, kind="stable")[:count]] = True
    return taken


def _as_gate(losses: np.ndarray, isolated: np.ndarray) -> Gate:
    """What was isolated in the form that other defences report it in, for tables of hits and false alarms."""
    low, high = losses[isolated], losses[~isolated]
    spread = np.sqrt((low.var() * len(low) + high.var() * len(high)) / len(losses))
    separation = float((high.mean() - low.mean()) / spread) if spread > 0 else 0.0
    return Gate(isolated.astype(float), separation, float(isolated.mean()), True)
