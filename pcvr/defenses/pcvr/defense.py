"""Patch cross-view regularisation (arXiv 2604.04488), gated: the loss, term by term.

Each option and whose choice it is stands in `pcvr.defenses.pcvr.config`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, relu

from pcvr.defenses.losses import DIVERGENCES, ENTROPY, entropy, feature_agreement, pull_apart, pull_together
from pcvr.defenses.pcvr import suspicion
from pcvr.defenses.pcvr.anchor import restore
from pcvr.defenses.pcvr.config import PCVRConfig
from pcvr.defenses.pcvr.suspicion import SMALLEST_BATCH
from pcvr.defenses.registry import register_defense
from pcvr.errors import PcvrError
from pcvr.views import PatchView

if TYPE_CHECKING:
    from pcvr.defenses.context import TrainingContext
    from pcvr.models.encode import Batch
    from pcvr.models.forward import AnswerLogits

PUSH_FLOOR = 0.01
"""A push weaker than this is not worth a forward pass of the view."""


@register_defense
@dataclass(frozen=True)
class PCVR(PCVRConfig):
    """Plain fine-tuning at first; then every sample is scored, and the suspicious ones are pulled off their answer."""

    name: ClassVar[str] = "pcvr"
    rank: ClassVar[int] = -1

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


@register_defense
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
