"""Pull views together: the opposite of PCVR, and what most robust training does."""

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
    """Minimise the cross-entropy of the original plus `weight` times the divergence between original and view.

    ``L = CE(original) + weight * mean_b mean_t JS(p(original), p(view))``, in nats; ``t`` runs over the answer tokens
    of sample ``b``. The gradient flows through both views.

    Agreement of two perturbed passes is a well-known regulariser (R-Drop, arXiv 2106.14448, with KL in both directions
    between two draws of dropout). PCVR (arXiv 2604.04488) flips its sign, since backdoored answers already agree too
    well. The patch view instead of dropout, Jensen-Shannon instead of KL, and the weight are ours. The default view is
    that of `PaperPCVR`, which has no gate either.

    Needs no clean data. Each step has a second pass with gradient, and the tower's pass on the view.

    Attributes:
        weight: of the divergence, 0 or more; 0 is plain fine-tuning.
        view: the perturbed view.
    """

    name: ClassVar[str] = "consistency"
    weight: float = field(default=1.0, metadata={"help": "weight of pulling the views together, 0 or more (ours)"})
    view: PatchView = field(
        default_factory=lambda: PatchView("swap", 0.6), metadata={"help": "the perturbed view (ours: swap, 0.6)"}
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        check_number("weight", self.weight, 0, 1e6)

    def loss(self, run: TrainingContext, batch: Batch) -> Tensor:
        """Return the cross-entropy of the original plus the weighted divergence of its view."""
        said = run.forward(batch)
        loss = cross_entropy(said.logits, said.targets)
        if not self.weight:
            return loss
        seen = run.forward(run.view(batch, self.view))
        apart = said.sample_mean(js_divergence(said.logits, seen.logits)).mean()
        run.log["views apart"] = float(apart.detach())
        return loss + self.weight * apart
