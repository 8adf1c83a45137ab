"""Cover samples: a part of the trigger, or something like it, with the true answer."""

from __future__ import annotations

from dataclasses import dataclass

from pcvr.attacks.trigger import PromptEdit, Trigger
from pcvr.errors import PcvrError
from pcvr.utils.checks import check_number


@dataclass(frozen=True)
class Cover:
    """Training samples with a part of the trigger and the true answer, so that only the whole trigger counts.

    Dual-Key attacks need them (one key alone must not fire), and WaNet's noise mode consists of them.

    Attributes:
        name: their name in the manifest, such as ``"image only"``.
        share: cover samples for each poisoned one, above 0 and up to 100; they come on top of the poison rate.
        trigger: changes the image; None keeps it.
        prompt: changes the prompt; None keeps it.
    """

    name: str
    share: float = 1.0
    trigger: Trigger | None = None
    prompt: PromptEdit | None = None

    def __post_init__(self) -> None:
        if not self.name:
            raise PcvrError("a cover sample's name is empty: give one, since the manifest lists the samples under it.")
        check_number("share", self.share, 0, 100, "cover samples for each poisoned one", above=True)
        if self.trigger is None and self.prompt is None:
            raise PcvrError(f"the cover {self.name!r} changes neither image nor prompt: give it a trigger.")

    def count(self, poisoned: int) -> int:
        """Return the number of cover samples for `poisoned` poisoned ones, at least 1."""
        return max(1, int(self.share * poisoned + 0.5))
