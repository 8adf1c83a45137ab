"""Patch cross-view regularisation (arXiv 2604.04488), gated: the loss, term by term.

Each option and whose choice it is stands in `pcvr.defenses.pcvr.config`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor
from torch.nn.functional import relu

from pcvr.defenses.losses import (
    DIVERGENCES,
    ENTROPY,
    entropy,
    feature_agreement,
    pull_apart,
    pull_together,
    weighted_cross_entropy,
)
from pcvr.defenses.pcvr import streaming, suspicion
from pcvr.defenses.pcvr.anchor import anchor_loss
from pcvr.defenses.pcvr.config import GATED, PCVRConfig
from pcvr.defenses.pcvr.replay import Replay
from pcvr.defenses.pcvr.suspicion import SMALLEST_BATCH
from pcvr.defenses.registry import register_defense
from pcvr.errors import PcvrError
from pcvr.utils.renamed import accepts_old_names
from pcvr.views import PatchView

if TYPE_CHECKING:
    from pcvr.defenses.context import TrainingContext
    from pcvr.models.encode import Batch
    from pcvr.models.forward import AnswerLogits

PUSH_FLOOR = 0.01
"""Samples with a weaker push than this get no forward pass of a view."""


@register_defense
@accepts_old_names
@dataclass(frozen=True)
class PCVR(PCVRConfig):
    """Leave out suspicious samples, hold them to the base model's answers, and pull them away from their labels."""

    name: ClassVar[str] = "pcvr"
    order: ClassVar[int] = -1

    def begin(self, run: TrainingContext) -> None:
        """Set every suspicion to 0: no sample is suspicious before it was seen."""
        suspicion.begin(self, run)

    @property
    def weights(self) -> dict[str, float]:
        """The weight of each term of the loss; a term of weight 0 is left out."""
        return {
            "cross_entropy": 1.0,
            "entropy": self.entropy_weight,
            "anchor": self.anchor_weight if self.gate in GATED else 0.0,
            "apart": self.apart_weight,
            "features": self.feature_weight,
        }

    def loss(self, run: TrainingContext, batch: Batch) -> Tensor:
        """Add the terms on a batch; before the first scan take the cross-entropy alone."""
        if self.gate == "batch" and len(batch["index"]) < SMALLEST_BATCH:
            raise PcvrError(
                f"gate 'batch' compares the samples of a batch and got {len(batch['index'])}: give batch_size at least "
                f"{SMALLEST_BATCH}, or choose the gate 'two_stage'."
            )
        started = suspicion.scan(self, run)
        said = run.forward(batch, hidden=self.feature_weight > 0 and started, pictures=self.gate == "stream")
        gate, trust = suspicion.suspicion(self, run, batch, said, started)
        if not started:
            return weighted_cross_entropy(said.logits, said.targets, trust[said.owner])
        terms = self.terms(run, batch, said, gate, trust)
        if self._unlearns(run) and self.replay:
            for name, term in self._terms_again(run, batch, said, gate, trust).items():
                terms[name] = terms[name] + term if name in terms else term
        # The terms on views are added to each other first: another order would change the last bit of a loss.
        on_views = [terms.pop(name) for name in ("apart", "features") if name in terms]
        loss = terms.pop("cross_entropy")
        loss = sum(terms.values(), loss)
        return loss + sum(on_views[1:], on_views[0]) if on_views else loss

    def terms(
        self, run: TrainingContext, batch: Batch, said: AnswerLogits, gate: Tensor, trust: Tensor | None = None
    ) -> dict[str, Tensor]:
        """Compute the terms of the loss on a batch, weighted: a scalar for each name in `weights`.

        Args:
            run: its state holds the entropy of normal answers and what the base model says; views are drawn from its
                generator.
            batch: the samples.
            said: the model's answers to them, with hidden states where the feature term is wanted.
            gate: ``[B]`` in ``[0, 1]``, the suspicion.
            trust: ``[B]`` in ``[0, 1]``, the weight of each sample in the cross-entropy; None: what is not suspicious.

        Returns:
            ``"cross_entropy"`` of the answers that are not suspicious; ``"entropy"``, the constraint; ``"anchor"`` to
            the base model; ``"apart"`` and ``"features"``, of originals against views, where an answer is pushed.
        """
        weights, strength = self.weights, self._strength(run)
        trust = self._trust(gate) if trust is None else trust
        tokens = trust[said.owner]
        terms = {"cross_entropy": weighted_cross_entropy(said.logits, said.targets, tokens)}
        trained = None
        if self.train_on != "original":
            trained = run.forward(run.view(batch, self.view), hidden=said.hidden is not None)
            on_view = weighted_cross_entropy(trained.logits, trained.targets, trust[trained.owner])
            terms["cross_entropy"] = on_view if self.train_on == "view" else (terms["cross_entropy"] + on_view) / 2
        if weights["entropy"] and "entropy" in run.state:  # some unsuspicious answer was seen
            spread = said.sample_mean(entropy(said.logits))
            excess = ENTROPY[self.entropy](spread, trust, run.state["entropy"], self.entropy_margin)
            terms["entropy"] = strength * weights["entropy"] * excess
        if weights["anchor"]:
            held = anchor_loss(run, batch, said, gate) / tokens.sum().clamp_min(1)
            terms["anchor"] = strength * weights["anchor"] * held
        push = gate * said.likelihood().detach() if self.fade else gate
        rows = (push > PUSH_FLOOR).nonzero()[:, 0]  # where the answer is not given, nothing needs a push
        if len(rows) and (weights["apart"] or weights["features"]):
            on_views = self._terms_on_views(run, batch, said.of(rows), rows, push[rows], gate.sum(), trained)
            terms |= {name: strength * term for name, term in on_views.items()}
        return terms

    def _unlearns(self, run: TrainingContext) -> bool:
        """Whether the streaming gate found a backdoor that was learned already."""
        return self.gate == "stream" and streaming.gate_of(run).learned

    def _terms_again(
        self, run: TrainingContext, batch: Batch, said: AnswerLogits, gate: Tensor, trust: Tensor
    ) -> dict[str, Tensor]:
        """Compute the terms on earlier samples of a learned backdoor, where a batch has too few; keep its own."""
        kept: Replay = run.state.setdefault("replay", Replay())
        rows = (gate * said.likelihood().detach() > PUSH_FLOOR).nonzero()[:, 0]
        tokens = trust[said.owner].sum().clamp_min(1)
        found: dict[str, Tensor] = {}
        for sample in kept.next(run, self.replay - len(rows)):
            shown = run.forward(sample, hidden=said.hidden is not None)
            sure = shown.likelihood().detach()
            if float(sure) <= PUSH_FLOOR:
                continue
            kept.back(sample)
            push = sure if self.fade else torch.ones_like(sure)
            first = torch.zeros(1, dtype=torch.long, device=push.device)
            terms = {"anchor": self.anchor_weight * anchor_loss(run, sample, shown, torch.ones_like(sure)) / tokens}
            if self.apart_weight or self.feature_weight:
                on_views = self._terms_on_views(run, sample, shown, first, push, push.new_ones(()), None)
                terms |= {name: term / self.replay for name, term in on_views.items()}
            for name, term in terms.items():
                found[name] = found[name] + term if name in found else term
        kept.keep(run, batch, rows)
        return found

    def notes(self, run: TrainingContext) -> tuple[str, ...]:
        """Return the doubts about the gate: few samples, groups that overlap, a scan before any training."""
        return suspicion.notes(self, run)

    def _strength(self, run: TrainingContext) -> float:
        """Return how far the regulariser has grown: from 0 to 1, linearly over `ramp` of the training."""
        if self.ramp == 0 or self.gate == "stream":
            return 1.0
        return min(1.0, (run.step - self.scan_steps(run.steps)[0]) / (self.ramp * run.steps))

    def _trust(self, gate: Tensor) -> Tensor:
        """Return the weight of each sample in the cross-entropy, ``[B]``; without a gate all samples are learned."""
        return torch.ones_like(gate) if self.gate == "none" else 1 - gate

    def _terms_on_views(
        self,
        run: TrainingContext,
        batch: Batch,
        said: AnswerLogits,
        rows: Tensor,
        push: Tensor,
        suspects: Tensor,
        trained: AnswerLogits | None,
    ) -> dict[str, Tensor]:
        """Compute the weighted pull-apart and feature terms on some rows, as means over `suspects` (a count) and views.

        The first view is the one that is trained on, if there is one. No gradient of these terms flows through a view:
        the original moves away from it.
        """
        found: list[dict[str, Tensor]] = []
        for k in range(self.apart_views):
            with torch.no_grad():
                if k == 0 and trained is not None:
                    seen = trained.of(rows)
                else:
                    seen = run.forward(run.view(batch, self.view, rows), hidden=said.hidden is not None)
            apart = said.sample_mean(DIVERGENCES[self.divergence](said.logits, seen.logits))
            run.log["views apart"] = float(apart.detach().mean())
            away, back = self.shares(push, seen)
            moved = pull_apart(apart, away, self.cap, suspects, self.bound) + pull_together(apart, back, suspects)
            terms = {"apart": self.apart_weight * moved}
            if said.hidden is not None and seen.hidden is not None:
                alike = feature_agreement(said.hidden, seen.hidden)
                too_like, unlike = said.sample_mean(relu(alike - self.feature_cap)), said.sample_mean(1 - alike)
                each = away * too_like + back * unlike
                terms["features"] = self.feature_weight * each.sum() / suspects.clamp_min(1e-6)
            found.append(terms)
        return {name: torch.stack([terms[name] for terms in found]).mean() for name in found[0]}

    def shares(self, push: Tensor, seen: AnswerLogits) -> tuple[Tensor, Tensor]:
        """Return how strongly answers are moved away from those to the views, and towards them: ``[R]`` each.

        Where a view keeps the target, the answer is invariant and is pulled apart from it. Where a view has lost it,
        the view shows what the model says without the trigger.

        Args:
            push: ``[R]`` in ``[0, 1]``, how strongly each answer is moved at all.
            seen: the model's answers to the views.
        """
        if self.direction == "together":
            return torch.zeros_like(push), push
        if self.pull_back and self.gate == "stream":
            kept = seen.likelihood()
            return push * kept, push * (1 - kept)
        return push, torch.zeros_like(push)


@register_defense
@accepts_old_names
@dataclass(frozen=True)
class PaperPCVR(PCVR):
    """Only what the paper states: one view of pixels, capped pull-apart on all samples, entropy constraint.

    There is no gate, no fading and no clearing. Without a gate the push must be weak, or the model learns nothing.
    """

    name: ClassVar[str] = "pcvr_paper"
    CHANGED: ClassVar[Mapping[str, Any]] = {}
    view: PatchView = field(
        default_factory=lambda: PatchView("swap", 0.6), metadata={"help": "how views are made (ours: swap, 0.6)"}
    )
    gate: str = field(default="none", metadata={"help": "off: what can be read of the paper names no gate"})
    bound: str = field(default="cap", metadata={"help": "cap on the batch's mean divergence (ours)"})
    apart_weight: float = field(default=0.1, metadata={"help": "weight of pulling the views apart (paper's part 2)"})
    feature_weight: float = field(default=0.0, metadata={"help": "weight of the feature term (off: form not known)"})
    fade: bool = field(default=False, metadata={"help": "off: scales the push by the likelihood of the answer (ours)"})
    anchor_weight: float = field(default=0.0, metadata={"help": "off: needs a gate, and is ours"})
