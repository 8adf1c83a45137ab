"""Patch cross-view regularisation (arXiv 2604.04488), gated.

Stated by the paper: a patch-perturbed second view, output distributions of the two views pulled apart where backdoor
invariance shows, and an entropy constraint that keeps normal answers. What it leaves open is an option here, and the
help of each option says whose it is. The defaults are what did best on BadNets and SIG; no other attack was looked at.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, relu

from pcvr.defenses.base import Defense
from pcvr.defenses.losses import DIVERGENCES, ENTROPY, MOST, entropy, feature_agreement, pull_apart, pull_together
from pcvr.defenses.pcvr import suspicion
from pcvr.defenses.pcvr.anchor import restore
from pcvr.defenses.pcvr.scoring import OVER
from pcvr.defenses.pcvr.suspicion import FIRST_LOOK, GATES, SMALLEST_BATCH
from pcvr.errors import PcvrError
from pcvr.utils.checks import check_choice, is_whole
from pcvr.views import PatchView

if TYPE_CHECKING:
    from pcvr.defenses.context import TrainingContext
    from pcvr.models.encode import Batch
    from pcvr.models.forward import AnswerLogits

KNOWN = ("base", "now", "off")
DIRECTIONS = ("apart", "together")
BOUNDS = ("hinge", "cap", "none")
PUSH_FLOOR = 0.01
"""A push weaker than this is not worth a forward pass of the view."""


@dataclass(frozen=True)
class PCVR(Defense):
    """Plain fine-tuning at first; then every sample is scored, and the suspicious ones are pulled off their answer."""

    name: ClassVar[str] = "pcvr"
    view: PatchView = field(
        default_factory=lambda: PatchView("swap", 0.9, level="features"),
        metadata={"help": "how views are made (paper: patches; operator, share, level ours)"},
    )
    gate: str = field(default="two_stage", metadata={"help": f"{', '.join(GATES)}: whom to act on (ours)"})
    score_at: tuple[float, ...] = field(
        default=(0.0125,),
        metadata={"help": "shares of training after which the gate looks, first its start (ours)"},
    )
    again: float = field(
        default=0.15,
        metadata={"help": "share of the samples, the lowest scores, that a later look takes (ours)"},
    )
    score_views: int = field(
        default=3, metadata={"help": "views that a two-stage scoring averages over at most (ours)"}
    )
    enough: float = field(
        default=0.8,
        metadata={"help": "score that clears a sample, which is then shown no other view, nats for js (ours)"},
    )
    score_over: str = field(
        default="told", metadata={"help": "told: the told word against the rest; words: all words (ours)"}
    )
    known: str = field(
        default="now", metadata={"help": "who may clear an answer as known anyway: base model, now, off (ours)"}
    )
    refit: int = field(default=25, metadata={"help": "steps between two fits of the running gate's mixture (ours)"})
    divergence: str = field(default="js", metadata={"help": f"{', '.join(DIVERGENCES)} (paper: output difference)"})
    direction: str = field(default="apart", metadata={"help": "apart (paper) or together, its opposite (ours)"})
    bound: str = field(default="hinge", metadata={"help": "hinge a sample, cap the batch's mean, or none (ours)"})
    cap: float = field(default=0.4, metadata={"help": "divergence at which views are apart enough, nats for js (ours)"})
    apart_weight: float = field(default=4.0, metadata={"help": "weight of pulling the views apart (paper's part 2)"})
    apart_views: int = field(default=1, metadata={"help": "views that are pulled apart from the original (ours: 1)"})
    fade: bool = field(default=True, metadata={"help": "push an answer only as far as the model would give it (ours)"})
    restore_weight: float = field(
        default=4.0, metadata={"help": "weight of beginning suspicious answers as the base model would (ours)"}
    )
    ramp: float = field(
        default=0.0, metadata={"help": "share of the training over which the regulariser grows to its weight (ours)"}
    )
    entropy: str = field(default="ceiling", metadata={"help": f"{', '.join(ENTROPY)}: form of the constraint (ours)"})
    entropy_weight: float = field(default=0.2, metadata={"help": "weight of the entropy constraint (paper's part 3)"})
    entropy_margin: float = field(default=0.1, metadata={"help": "nats that entropy may leave its reference by (ours)"})
    feature_weight: float = field(
        default=0.1, metadata={"help": "weight of the feature term (paper: acts on features)"}
    )
    feature_cap: float = field(default=0.5, metadata={"help": "cosine below which features are apart enough (ours)"})

    def __post_init__(self) -> None:
        super().__post_init__()
        for what, options in (
            ("gate", GATES),
            ("score_over", OVER),
            ("known", KNOWN),
            ("divergence", DIVERGENCES),
            ("direction", DIRECTIONS),
            ("bound", BOUNDS),
            ("entropy", ENTROPY),
        ):
            check_choice(what, getattr(self, what), options)
        for name in ("apart_weight", "entropy_weight", "entropy_margin", "feature_weight", "restore_weight"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value >= 0):
                raise PcvrError(f"{name} must be 0 or more, got {value}: 0 switches the part off.")
        most = MOST[self.divergence]
        if not 0 < self.cap <= most:
            unit = "it has no unit" if self.divergence == "tv" else "in nats, a bit being 0.693 of them"
            raise PcvrError(f"cap must lie in (0, {most:.3g}] for {self.divergence!r}, got {self.cap}: {unit}.")
        if not self.enough > 0:
            raise PcvrError(f"enough must be above 0, got {self.enough}: a divergence that a poisoned answer has not.")
        if not -1 <= self.feature_cap < 1:
            raise PcvrError(f"feature_cap must lie in [-1, 1), got {self.feature_cap}: it is a cosine.")
        if not 0 < self.again <= 1:
            raise PcvrError(f"again must lie in (0, 1], got {self.again}: a share of the samples.")
        if not 0 <= self.ramp < 1:
            raise PcvrError(f"ramp must lie in [0, 1), got {self.ramp}: a share of the training.")
        for name in ("score_views", "apart_views", "refit"):
            if not is_whole(getattr(self, name)) or getattr(self, name) < 1:
                raise PcvrError(f"{name} must be a whole number, at least 1, got {getattr(self, name)!r}.")
        if not self.score_at or not all(0 < at < 1 for at in self.score_at):
            raise PcvrError(f"score_at must hold shares of the training in (0, 1), got {self.score_at}.")

    def looks(self, steps: int) -> list[int]:
        """The steps, of `steps`, before which the gate looks; the first is also where the regulariser begins.

        None comes before training has changed the model, unless there is but one step.
        """
        first = min(FIRST_LOOK, steps - 1)
        return sorted({max(first, round(at * steps)) for at in self.score_at})

    def begin(self, run: TrainingContext) -> None:
        """No sample is suspicious before the first look."""
        suspicion.begin(run)

    def loss(self, run: TrainingContext, batch: Batch) -> Tensor:
        """Cross-entropy of what is not suspicious, plus the regulariser on what is."""
        if self.gate == "batch" and len(batch["index"]) < SMALLEST_BATCH:
            raise PcvrError(
                f"gate 'batch' compares the samples of a batch and got {len(batch['index'])}: give batch_size at least "
                f"{SMALLEST_BATCH}, or choose the gate 'two_stage'."
            )
        started = suspicion.look(self, run)
        said = run.forward(batch, hidden=self.feature_weight > 0 and started)
        gate = suspicion.suspicion(self, run, batch, said, started)
        losses = cross_entropy(said.logits, said.targets, reduction="none")
        # Without a gate everything is acted on, and so has to be learned all the same.
        trust = torch.ones_like(gate) if self.gate == "none" else 1 - gate
        loss = (trust[said.owner] * losses).sum() / trust[said.owner].sum().clamp_min(1e-6)
        if not started:
            return loss
        strength = self._strength(run)
        if self.entropy_weight:
            spread = said.sample_mean(entropy(said.logits))
            excess = ENTROPY[self.entropy](spread, trust, run.state["entropy"], self.entropy_margin)
            loss = loss + strength * self.entropy_weight * excess
        if self.restore_weight and self.gate in ("two_stage", "running"):
            held = restore(run, batch, said, gate) / trust[said.owner].sum().clamp_min(1)
            loss = loss + strength * self.restore_weight * held
        push = gate * said.likelihood().detach() if self.fade else gate
        rows = (push > PUSH_FLOOR).nonzero()[:, 0]  # where the answer is not given there is nothing to push off
        if len(rows) and (self.apart_weight or self.feature_weight):
            loss = loss + strength * self._apart(run, batch, said.of(rows), rows, push[rows], gate.sum())
        return loss

    def notes(self, run: TrainingContext) -> tuple[str, ...]:
        """What the gate is not sure of: few samples, groups that overlap, a look before any training."""
        return suspicion.notes(self, run)

    def _strength(self, run: TrainingContext) -> float:
        """How far the regulariser has grown: linearly over `ramp` of the training."""
        return 1.0 if self.ramp == 0 else min(1.0, (run.step - self.looks(run.steps)[0]) / (self.ramp * run.steps))

    def _apart(
        self, run: TrainingContext, batch: Batch, said: AnswerLogits, rows: Tensor, push: Tensor, suspects: Tensor
    ) -> Tensor:
        """The pull-apart and feature terms on some rows, as means over all `suspects` (a count) of the batch.

        The view is the fixed point from which the original moves.
        """
        total = said.logits.new_zeros(())
        for _ in range(self.apart_views):
            with torch.no_grad():
                seen = run.forward(run.view(batch, self.view, rows), hidden=self.feature_weight > 0)
            apart = said.sample_mean(DIVERGENCES[self.divergence](said.logits, seen.logits))
            if self.direction == "apart":
                total = total + self.apart_weight * pull_apart(apart, push, self.cap, suspects, self.bound)
            else:
                total = total + self.apart_weight * pull_together(apart, push, suspects)
            if said.hidden is not None and seen.hidden is not None:
                alike = feature_agreement(said.hidden, seen.hidden)
                excess = relu(alike - self.feature_cap) if self.direction == "apart" else 1 - alike
                each = said.sample_mean(excess)
                total = total + self.feature_weight * (push * each).sum() / suspects.clamp_min(1e-6)
            run.log["views apart"] = float(apart.detach().mean())
        return total / self.apart_views


@dataclass(frozen=True)
class PaperPCVR(PCVR):
    """What the paper states and no more: one view of pixels, capped pull-apart on all samples, entropy constraint.

    No gate, no fading, nothing that clears an answer. Without a gate the push must be gentle, or nothing is learned.
    """

    name: ClassVar[str] = "pcvr_paper"
    view: PatchView = field(
        default_factory=lambda: PatchView("swap", 0.6), metadata={"help": "how views are made (ours: swap, 0.6)"}
    )
    gate: str = field(default="none", metadata={"help": "the paper names no gate that can be read"})
    bound: str = field(default="cap", metadata={"help": "cap on the batch's mean divergence (ours)"})
    apart_weight: float = field(default=0.1, metadata={"help": "weight of pulling the views apart (paper's part 2)"})
    feature_weight: float = field(default=0.0, metadata={"help": "weight of the feature term (off: form not known)"})
    fade: bool = field(default=False, metadata={"help": "push an answer only as far as the model would give it (ours)"})
    restore_weight: float = field(default=0.0, metadata={"help": "off: needs a gate, and is ours"})
