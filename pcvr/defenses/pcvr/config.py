"""The options of patch cross-view regularisation, with whose choice each is.

The paper (arXiv 2604.04488) states a patch-perturbed second view, output distributions of the two views pulled apart
where backdoor invariance shows, and an entropy constraint that keeps normal answers. What it leaves open is an option
here, and the help of each option says whose it is. The defaults are what did best on BadNets and SIG; no other attack
was looked at.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from pcvr.defenses.base import Defense
from pcvr.defenses.losses import DIVERGENCES, ENTROPY, MOST
from pcvr.errors import PcvrError
from pcvr.utils.checks import check_choice, is_whole
from pcvr.views import PatchView

GATES = ("two_stage", "running", "batch", "none")
OVER = ("told", "words")
KNOWN = ("base", "now", "off")
DIRECTIONS = ("apart", "together")
BOUNDS = ("hinge", "cap", "none")
FIRST_LOOK = 2
"""No look comes before this step: with a warm-up the learning rate of step 0 is zero, so that a look before step 1
still sees the model before fine-tuning."""


@dataclass(frozen=True)
class PCVRConfig(Defense):
    """What can be chosen about PCVR, checked when it is made."""

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
