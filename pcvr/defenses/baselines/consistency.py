"""Pulling views together: the opposite of PCVR, and what most of robust training does."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar

from torch import Tensor
from torch.nn.functional import cross_entropy

from pcvr.defenses.base import Defense
from pcvr.defenses.losses import js_divergence
from pcvr.defenses.registry import register_defense
from pcvr.utils.checks import check_number
from pcvr.views import PatchView

if TYPE_CHECKING:
    from pcvr.defenses.context import TrainingContext
    from pcvr.models.encode import Batch


@register_defense
@dataclass(frozen=True)
class Consistency(Defense):
    """Cross-entropy of the original plus `weight` times the divergence between original and view, made small.

    ``L = CE(original) + weight * mean_b mean_t JS(p(original), p(view))``, in nats; ``t`` runs over the answer tokens
    of sample ``b``. The gradient flows through both views.

    Agreement of two perturbed passes as a regulariser is well known (R-Drop, arXiv 2106.14448, with KL in both
    directions between two draws of dropout). PCVR (arXiv 2604.04488) turns its sign, since backdoored answers agree too
    well already. The patch view in place of dropout, Jensen-Shannon in place of KL and the weight are ours; the
    default view is `PaperPCVR`'s, which has no gate either.

    Needs no clean data; every step has a second pass with gradient, and the tower's pass on the view.

    Attributes:
        weight: of the divergence, 0 or more; 0 is plain fine-tuning.
        view: how the view is made.
    """

    name: ClassVar[str] = "consistency"
    weight: float = field(default=1.0, metadata={"help": "weight of pulling the views together, 0 or more (ours)"})
    view: PatchView = field(
        default_factory=lambda: PatchView("swap", 0.6), metadata={"help": "how the view is made (ours: swap, 0.6)"}
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        check_number("weight", self.weight, 0, 1e6)

    def loss(self, run: TrainingContext, batch: Batch) -> Tensor:
        """Cross-entropy of the original, and how far its view says something else."""
        said = run.forward(batch)
        loss = cross_entropy(said.logits, said.targets)
        if not self.weight:
            return loss
        seen = run.forward(run.view(batch, self.view))
        apart = said.sample_mean(js_divergence(said.logits, seen.logits)).mean()
        run.log["views apart"] = float(apart.detach())
        return loss + self.weight * apart
