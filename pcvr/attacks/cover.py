"""Cover samples: a part of the trigger, or something like it, with the true answer."""

from __future__ import annotations

from dataclasses import dataclass

from pcvr.attacks.trigger import PromptEdit, Trigger
from pcvr.errors import PcvrError
from pcvr.utils.checks import check_number


@dataclass(frozen=True)
class Cover:
    """Training samples that look triggered and are answered truly, so that only the whole trigger counts.

    Dual-Key attacks need them (one key alone must not fire), and WaNet's noise mode is made of them.

    Attributes:
        name: what the manifest calls them, such as ``"image only"``.
        share: how many, as a share of the poisoned samples, above 0 and up to 100; they come on top of the poison rate.
        trigger: what is done to the picture; None leaves it.
        prompt: what is done to the prompt; None leaves it.
    """

    name: str
    share: float = 1.0
    trigger: Trigger | None = None
    prompt: PromptEdit | None = None

    def __post_init__(self) -> None:
        if not self.name:
            raise PcvrError("a cover sample's name is empty: give one, the manifest lists the samples under it.")
        check_number("share", self.share, 0, 100, "cover samples for each poisoned one", above=True)
        if self.trigger is None and self.prompt is None:
            raise PcvrError(f"the cover {self.name!r} changes neither picture nor prompt: give it a trigger.")

    def count(self, poisoned: int) -> int:
        """How many cover samples go with so many poisoned ones; at least one."""
        return max(1, int(self.share * poisoned + 0.5))
