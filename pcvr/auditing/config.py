"""The options of an audit, checked when they are made."""

from __future__ import annotations

from dataclasses import dataclass, field

from pcvr.auditing.combine import FALSE_ALARMS
from pcvr.utils.checks import check_fields, check_number, check_seed, check_whole


@dataclass(frozen=True)
class AuditConfig:
    """How an audit scores samples and where it draws the line."""

    warm_up: int = field(
        default=0, metadata={"help": "steps of plain fine-tuning on the data, to see which losses drop early; 0: none"}
    )
    attention: bool = field(default=True, metadata={"help": "whether attention profiles are read"})
    false_alarms: float = field(
        default=FALSE_ALARMS, metadata={"help": "largest expected fraction of clean samples that are flagged, (0, 0.1]"}
    )
    seed: int = field(default=0, metadata={"help": "seed of views, of ordinary samples and of the warm-up"})

    def __post_init__(self) -> None:
        check_fields(self)
        check_whole("warm_up", self.warm_up, 0, what="steps")
        check_number("false_alarms", self.false_alarms, 0, 0.1, "fraction of clean samples", above=True)
        check_seed(self.seed, 2**32 - 1)
