"""The guard of a model: a defence that acts at test time, together with what it learned in training."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from os.path import lexists  # unlike Path's, it says no to names that no file can have
from pathlib import Path
from typing import Any, ClassVar, Protocol

from pcvr.errors import PcvrError

Generate = Callable[[Any, Sequence[Any], Sequence[str]], list[str]]
"""``generate(vlm, images, prompts)``: the model's own greedy answers, within the task's budget."""

GUARD = "guard"
"""Name of the two files in which a guard lies beside its adapter."""


def has_guard(folder: Path) -> bool:
    """Whether a file of a guard lies in an adapter's folder."""
    return any(lexists(folder / f"{GUARD}.{ending}") for ending in ("json", "safetensors"))


class Answering(Protocol):
    """What a guard needs of a defence (see `pcvr.defenses.Defense.answer`)."""

    name: ClassVar[str]

    def answer(
        self,
        vlm: Any,
        images: Sequence[Any],
        prompts: Sequence[str],
        generate: Generate,
        state: Mapping[str, Any] | None = None,
    ) -> list[str]:
        """Return the answers that the defence lets through."""
        ...


@dataclass(frozen=True, eq=False)
class Guard:
    """A defence that answers in the model's place.

    Attributes:
        rule: the defence.
        state: what it learned, such as a threshold; the ``run.state`` of its fine-tuning.
    """

    rule: Answering
    state: Mapping[str, Any] = field(repr=False)

    @property
    def name(self) -> str:
        """The name of the defence."""
        return self.rule.name

    def answer(self, vlm: Any, images: Sequence[Any], prompts: Sequence[str], generate: Generate) -> list[str]:
        """Return the guarded answers to N images and prompts.

        Args:
            vlm: the `VisionLanguageModel` that carries this guard.
            images: N images.
            prompts: N prompts.
            generate: returns the model's own answers.

        Raises:
            PcvrError: the defence gives another number of answers.
        """
        bare = replace(vlm, guard=None)  # a defence that asks the model itself must not come back here
        said = self.rule.answer(bare, images, prompts, generate, self.state)
        if len(said) != len(images):
            raise PcvrError(
                f"defence {self.name!r} gave {len(said)} answers to {len(images)} inputs: it has to give one each."
            )
        return said
