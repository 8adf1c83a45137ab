"""Patch cross-view regularisation (arXiv 2604.04488), gated.

Stated by the paper: a patch-perturbed second view, output distributions of the two views pulled apart where backdoor
invariance shows, and an entropy constraint that keeps normal answers. Ours: the swap operator, Jensen-Shannon with a
cap, the gate and its schedule, the fading, the ceiling form of the entropy term, and the feature term's form.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, relu

from pcvr.defenses.base import Defense
from pcvr.defenses.gate import fit_gate
from pcvr.defenses.terms import LN2, entropy, entropy_excess, feature_agreement, js_divergence, pull_apart
from pcvr.errors import PcvrError
from pcvr.run import batches
from pcvr.views import PatchView

if TYPE_CHECKING:
    from pcvr.models.encode import Batch
    from pcvr.run import Answers, Run


@dataclass(frozen=True)
class PCVR(Defense):
    """Plain fine-tuning at first; then every sample is scored, and the suspicious ones are pulled off their answer."""

    name: ClassVar[str] = "pcvr"
    view: PatchView = field(
        default_factory=lambda: PatchView("swap", 0.6), metadata={"help": "how views are made (ours: swap, 0.6)"}
    )
    score_at: tuple[float, ...] = field(
        default=(0.05,), metadata={"help": "shares of the training after which all samples are scored (ours)"}
    )
    score_views: int = field(default=2, metadata={"help": "views a scoring averages over (ours)"})
    gated: bool = field(default=True, metadata={"help": "act on suspicious samples only (ours); off: on all alike"})
    apart_weight: float = field(default=4.0, metadata={"help": "weight of pulling the views apart (paper's part 2)"})
    fade: bool = field(default=True, metadata={"help": "push an answer only as far as the model would give it (ours)"})
    cap: float = field(default=0.4, metadata={"help": "divergence in nats at which views are apart enough (ours)"})
    entropy_weight: float = field(default=0.2, metadata={"help": "weight of the entropy constraint (paper's part 3)"})
    entropy_margin: float = field(default=0.1, metadata={"help": "nats that entropy may rise above its ceiling (ours)"})
    feature_weight: float = field(
        default=0.1, metadata={"help": "weight of the feature term (paper: acts on features)"}
    )
    feature_cap: float = field(default=0.5, metadata={"help": "cosine below which features are apart enough (ours)"})

    def __post_init__(self) -> None:
        for name in ("apart_weight", "entropy_weight", "entropy_margin", "feature_weight"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value >= 0):
                raise PcvrError(f"{name} must be 0 or more, got {value}: 0 switches the part off.")
        if not 0 < self.cap <= LN2:
            raise PcvrError(f"cap must lie in (0, {LN2:.3f}], got {self.cap}: in nats, ln 2 being the most there is.")
        if not -1 <= self.feature_cap < 1:
            raise PcvrError(f"feature_cap must lie in [-1, 1), got {self.feature_cap}: it is a cosine.")
        if self.score_views < 1:
            raise PcvrError(f"score_views must be at least 1, got {self.score_views}.")
        if not self.score_at or not all(0 < at < 1 for at in self.score_at):
            raise PcvrError(f"score_at must hold shares of the training in (0, 1), got {self.score_at}.")

    def begin(self, run: Run) -> None:
        """No sample is suspicious before the first scoring."""
        run.state["gate"] = torch.zeros(len(run.data))
        run.state["scorings"] = []

    def loss(self, run: Run, batch: Batch) -> Tensor:
        """Cross-entropy of what is not suspicious, plus the regulariser on what is."""
        if run.step in {round(at * run.steps) for at in self.score_at} and not self._scored(run):
            self._score(run)
        gate = run.state["gate"][batch["index"].cpu()].to(batch["labels"].device)
        started = bool(run.state["scorings"])
        said = run.answers(batch, hidden=self.feature_weight > 0 and started)
        losses = cross_entropy(said.logits, said.targets, reduction="none")
        trust = (1 - gate)[said.owner] if self.gated else torch.ones_like(losses)
        loss = (trust * losses).sum() / trust.sum().clamp_min(1e-6)
        if not started:
            return loss
        if self.entropy_weight:
            spread = said.sample_mean(entropy(said.logits))
            weight = 1 - gate if self.gated else torch.ones_like(gate)
            reference = run.state["entropy"]
            loss = loss + self.entropy_weight * entropy_excess(spread, weight, reference, self.entropy_margin)
        acting = gate if self.gated else torch.ones_like(gate)
        rows = (acting > 0.05).nonzero()[:, 0]
        if len(rows) and (self.apart_weight or self.feature_weight):
            loss = loss + self._apart(run, batch, said.of(rows), rows, acting[rows])
        return loss

    def _apart(self, run: Run, batch: Batch, said: Answers, rows: Tensor, gate: Tensor) -> Tensor:
        """The pull-apart and feature terms on some rows; the view is the fixed point from which the original moves."""
        with torch.no_grad():
            seen = run.answers(run.view(batch, self.view, rows), hidden=self.feature_weight > 0)
        apart = said.sample_mean(js_divergence(said.logits, seen.logits))
        push = gate * said.likelihood().detach() if self.fade else gate
        loss = self.apart_weight * pull_apart(apart, push, self.cap, gate)
        if said.hidden is not None and seen.hidden is not None:
            alike = said.sample_mean(relu(feature_agreement(said.hidden, seen.hidden) - self.feature_cap))
            loss = loss + self.feature_weight * (push * alike).sum() / gate.sum().clamp_min(1e-6)
        run.log["views apart"] = float(apart.detach().mean())
        return loss

    def _scored(self, run: Run) -> bool:
        return any(done["step"] == run.step for done in run.state["scorings"])

    @torch.no_grad()
    def _score(self, run: Run) -> None:
        """Score every sample; once suspicious stays suspicious, since what is no longer trained looks clean again."""
        scores, spreads = score(run, self.view, self.score_views)
        found = fit_gate(scores)
        fresh = torch.from_numpy(found.suspicion).float()
        run.state["gate"] = torch.maximum(run.state["gate"], fresh)
        calm = run.state["gate"].numpy() < 0.5
        run.state["entropy"] = float(spreads[calm].mean())
        run.state["scorings"].append({"step": run.step, "scores": scores, "gate": found})
        run.log["suspicious"] = float((run.state["gate"] > 0.5).float().mean())


@torch.no_grad()
def score(run: Run, view: PatchView, views: int, batch_size: int = 64) -> tuple[np.ndarray, np.ndarray]:
    """Cross-view divergence and answer entropy of every training sample.

    Returns:
        ``(scores [N], entropies [N])`` in nats: Jensen-Shannon divergence between the answer tokens' distributions on
        the original and on a view, summed over tokens, mean over `views`; low is suspicious. The sum says how much
        of the answer depends on the picture; in a mean the one word that depends on the trigger hides all the others.
        And the mean entropy of a token.
    """
    training = run.vlm.model.training
    run.vlm.model.eval()
    scores, spreads = [], []
    for indices in batches(len(run.data), batch_size):
        batch = run.data.batch(indices)
        said = run.answers(batch)
        each = [
            said.sample_sum(js_divergence(said.logits, run.answers(run.view(batch, view)).logits)) for _ in range(views)
        ]
        scores.append(torch.stack(each).mean(0))
        spreads.append(said.sample_mean(entropy(said.logits)))
    run.vlm.model.train(training)
    return torch.cat(scores).cpu().numpy(), torch.cat(spreads).cpu().numpy()
