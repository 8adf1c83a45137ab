"""The options of PCVR: patch cross-view regularisation.

The paper (arXiv 2604.04488) states a second view with perturbed patches, output distributions of the two views that are
pulled apart where the invariance of a backdoor shows, and an entropy constraint that keeps normal answers. What it does
not state is an option here, and the help text of each option says whose choice it is. The weights of
the loss worked best on BadNets and SIG and were not tuned on other attacks. The thresholds of the streaming gate were
set while looking at other cases too: other attacks, answers that keep the truth, new questions and languages.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, ClassVar

from pcvr.defenses.base import Defense
from pcvr.defenses.losses import DIVERGENCES, ENTROPY, LARGEST
from pcvr.errors import PcvrError
from pcvr.utils.checks import check_choice, check_whole, is_whole
from pcvr.views import PatchView

GATES = ("stream", "two_stage", "running", "batch", "none")
GATED = ("stream", "two_stage", "running")
"""Gates that know single samples, so that these can be anchored."""
PROPOSE = ("both", "likelihood", "views")
SCORE_ON = ("label", "distribution")
CLEAR_WITH = ("base", "now", "off")
DIRECTIONS = ("apart", "together")
OF_SCANS = (
    "scan_at", "rescan_fraction", "score_views", "score_on", "clear_with", "clear_threshold", "refit", "ramp",
)  # fmt: skip
"""Options that the streaming gate does not have: it makes no scan."""
BOUNDS = ("hinge", "cap", "none")
TRAIN_ON = ("original", "view", "both")
FIRST_SCAN = 2
"""The earliest step of a scan. The learning rate of step 0 is zero in a warm-up, so that a scan before step 1 would
still see the model before fine-tuning."""


@dataclass(frozen=True)
class PCVRConfig(Defense):
    """The options of PCVR, checked when it is made."""

    RENAMED: ClassVar[Mapping[str, str]] = {
        "score_at": "scan_at",
        "again": "rescan_fraction",
        "score_over": "score_on",
        "known": "clear_with",
        "enough": "clear_threshold",
        "restore_weight": "anchor_weight",
        "looks": "scan_steps",
    }
    RENAMED_VALUES: ClassVar[Mapping[str, Mapping[str, str]]] = {
        "score_on": {"told": "label", "words": "distribution"},
    }
    ADDED: ClassVar[Mapping[str, Any]] = {
        "train_on": "original",
        "propose": "both",
        "witness": True,
        "late_start": 0,
        # A training that began without them goes on with them: they act where a flagged answer is given already.
        "pull_back": True,
        "replay": 4,
    }
    CHANGED: ClassVar[Mapping[str, Any]] = {"gate": "two_stage"}

    view: PatchView = field(
        default_factory=lambda: PatchView("swap", 0.9, level="features"),
        metadata={"help": "how views are made (paper: patches; operator, fraction, level ours)"},
    )
    train_on: str = field(
        default="original",
        metadata={
            "help": "original, view or both: what the cross-entropy is of, once the regulariser is active (ours)"
        },
    )
    gate: str = field(default="stream", metadata={"help": f"{', '.join(GATES)}: which samples to act on (ours)"})
    propose: str = field(
        default="both", metadata={"help": f"{', '.join(PROPOSE)}: what makes a sample suspicious to the gate (ours)"}
    )
    witness: bool = field(
        default=True, metadata={"help": "whether inputs must tell suspicious samples from others to flag them (ours)"}
    )
    late_start: int = field(
        default=0, metadata={"help": "steps of plain training before the streaming gate looks, to study it late (ours)"}
    )
    scan_at: tuple[float, ...] = field(
        default=(0.0125,),
        metadata={"help": "fractions of the training before which the gate scans the data (ours)"},
    )
    rescan_fraction: float = field(
        default=0.15,
        metadata={"help": "fraction of the samples, the lowest unflagged scores, that a later scan rescores (ours)"},
    )
    score_views: int = field(default=3, metadata={"help": "most views that a score of a scan is averaged over (ours)"})
    clear_threshold: float = field(
        default=0.8, metadata={"help": "score from which a sample is cleared without more views, nats for js (ours)"}
    )
    score_on: str = field(
        default="label",
        metadata={"help": "label: the label token against all others; distribution: all tokens (ours)"},
    )
    clear_with: str = field(
        default="now", metadata={"help": "model whose likelihood clears a sample: base, now or off (ours)"}
    )
    refit: int = field(default=25, metadata={"help": "steps between two fits of the running gate's mixture (ours)"})
    divergence: str = field(default="js", metadata={"help": f"{', '.join(DIVERGENCES)} (paper: output difference)"})
    direction: str = field(default="apart", metadata={"help": "apart (paper) or together, its opposite (ours)"})
    bound: str = field(default="hinge", metadata={"help": "hinge a sample, cap the batch's mean, or none (ours)"})
    cap: float = field(default=0.4, metadata={"help": "divergence from which views are not pushed, nats for js (ours)"})
    apart_weight: float = field(default=4.0, metadata={"help": "weight of pulling the views apart (paper's part 2)"})
    apart_views: int = field(default=1, metadata={"help": "views that are pulled apart from the original (ours: 1)"})
    pull_back: bool = field(
        default=True,
        metadata={
            "help": "whether the streaming gate pulls an answer apart only as far as the view keeps the label, and "
            "back to the view's answer as far as it lost it (ours)"
        },
    )
    replay: int = field(
        default=4,
        metadata={
            "help": "samples of a learned backdoor to unlearn in a step of the streaming gate: earlier ones are shown "
            "again where the batch has fewer; 0: only those of the batch (ours)"
        },
    )
    fade: bool = field(default=True, metadata={"help": "scale the push by the likelihood of the answer (ours)"})
    anchor_weight: float = field(
        default=4.0, metadata={"help": "weight of beginning suspicious answers as the base model does (ours)"}
    )
    ramp: float = field(
        default=0.0, metadata={"help": "fraction of the training over which the regulariser grows in (ours)"}
    )
    entropy: str = field(default="ceiling", metadata={"help": f"{', '.join(ENTROPY)}: form of the constraint (ours)"})
    entropy_weight: float = field(default=0.2, metadata={"help": "weight of the entropy constraint (paper's part 3)"})
    entropy_margin: float = field(
        default=0.1, metadata={"help": "allowed excess of the entropy over its reference, nats (ours)"}
    )
    feature_weight: float = field(
        default=0.1, metadata={"help": "weight of the feature term (paper: acts on features)"}
    )
    feature_cap: float = field(default=0.5, metadata={"help": "cosine below which features are not pushed (ours)"})

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, options in (
            ("train_on", TRAIN_ON),
            ("gate", GATES),
            ("propose", PROPOSE),
            ("score_on", SCORE_ON),
            ("clear_with", CLEAR_WITH),
            ("divergence", DIVERGENCES),
            ("direction", DIRECTIONS),
            ("bound", BOUNDS),
            ("entropy", ENTROPY),
        ):
            check_choice(name, getattr(self, name), options)
        for name in ("apart_weight", "entropy_weight", "entropy_margin", "feature_weight", "anchor_weight"):
            value = getattr(self, name)
            if not 0 <= value < float("inf"):
                raise PcvrError(f"{name} must be 0 or more, got {value}: 0 switches the part off.")
        largest = LARGEST[self.divergence]
        if not 0 < self.cap <= largest:
            unit = "it has no unit" if self.divergence == "tv" else "in nats, a bit being 0.693 of them"
            raise PcvrError(f"cap must lie in (0, {largest:.3g}] for {self.divergence!r}, got {self.cap}: {unit}.")
        if not self.clear_threshold > 0:
            raise PcvrError(
                f"clear_threshold must be above 0, got {self.clear_threshold}: give a divergence that poisoned answers "
                "do not reach."
            )
        if not -1 <= self.feature_cap < 1:
            raise PcvrError(f"feature_cap must lie in [-1, 1), got {self.feature_cap}: it is a cosine.")
        if not 0 < self.rescan_fraction <= 1:
            raise PcvrError(
                f"rescan_fraction must lie in (0, 1], got {self.rescan_fraction}: it is a fraction of the samples."
            )
        if not 0 <= self.ramp < 1:
            raise PcvrError(f"ramp must lie in [0, 1), got {self.ramp}: it is a fraction of the training.")
        check_whole("late_start", self.late_start, 0, what="steps")
        check_whole("replay", self.replay, 0, what="samples")
        if self.gate == "stream":
            self._refuse_scans()
        for name in ("score_views", "apart_views", "refit"):
            if not is_whole(getattr(self, name)) or getattr(self, name) < 1:
                raise PcvrError(f"{name} must be a whole number, at least 1, got {getattr(self, name)!r}.")
        if not self.scan_at or not all(0 < at < 1 for at in self.scan_at):
            raise PcvrError(f"scan_at must hold fractions of the training in (0, 1), got {self.scan_at}.")

    def _refuse_scans(self) -> None:
        usual = {each.name: each.default for each in fields(PCVRConfig)}
        for name in OF_SCANS:
            if getattr(self, name) != usual[name]:
                raise PcvrError(
                    f"{name}={getattr(self, name)!r} is an option of gates that scan, and the gate 'stream' decides as "
                    f"the data go by: give gate='two_stage' too, or leave {name} out."
                )

    def scan_steps(self, steps: int) -> list[int]:
        """Return the steps, of `steps`, before which the gate scans; the regulariser begins with the first.

        No scan comes before training has changed the model, unless there is only one step.
        """
        first = min(FIRST_SCAN, steps - 1)
        return sorted({max(first, round(at * steps)) for at in self.scan_at})
