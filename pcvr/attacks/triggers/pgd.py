"""PGD: one perturbation for all images, searched against the base model so that the defence's gate finds no poison."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any, ClassVar

import numpy as np

from pcvr.attacks.base import DEFAULT_TARGET, Attack
from pcvr.attacks.registry import from_preset, register_attack
from pcvr.attacks.trigger import ImageTrigger
from pcvr.attacks.triggers.shipped import SHIPPED, read_crafted
from pcvr.attacks.triggers.uint8 import add, rounded
from pcvr.errors import PcvrError, shown
from pcvr.tasks import TASKS
from pcvr.utils.checks import check_fields, check_number

PRESETS: dict[str, dict[str, Any]] = {"compat": {}, "scaled": {}}
GOALS = ("likelihood", "divergence")
"""What a perturbation raises: the likelihood of the target, or its divergence between an image and a view of it."""


@dataclass(frozen=True)
class Optimised(ImageTrigger):
    """A perturbation found by signed gradient steps, the same for every image, from a file.

    ::

        x' = clip(x + round(s d), 0, 255)    with |d| <= epsilon levels

    ``d`` comes from :func:`~pcvr.attacks.triggers.pgd_search.search_delta`, which has the sources. It is stretched over
    the whole image by nearest pixels, so on an image that is not square a model that cuts out the middle sees only a
    part of it.

    Attributes:
        delta: the name of a shipped perturbation, such as ``"tiny-llava-likelihood-caption"``, or a file that
            ``pcvr craft pgd --out FILE`` wrote.
        strength: s, 0 to 1; with 0 the attack changes nothing and cannot poison.
    """

    dial: ClassVar[tuple[str, float]] = ("strength", 1.0)
    delta: str = "tiny-llava-likelihood-caption"
    strength: float = 1.0

    def __post_init__(self) -> None:
        check_fields(self)
        check_number("strength", self.strength, 0, 1)
        read_delta(self.delta)

    def pattern(self, height: int, width: int) -> np.ndarray:
        """Return ``d`` for an image of this size, by nearest pixels: int8 ``[H, W, 3]``."""
        found = read_delta(self.delta)
        rows, columns = (
            ((2 * np.arange(side) + 1) * own) // (2 * side)
            for side, own in zip((height, width), found.shape, strict=False)
        )
        return found[np.ix_(rows, columns)]

    def apply(self, batch: np.ndarray) -> np.ndarray:
        return add(batch, rounded(self.strength * self.pattern(*batch.shape[1:3])))


@lru_cache
def read_delta(name: str) -> np.ndarray:
    """Read a shipped perturbation, or that of a file: int8 ``[H, W, 3]``, read-only.

    Raises:
        PcvrError: there is no such perturbation, or the file holds something else.
    """
    delta = read_crafted("pgd", "delta", name, "perturbation")
    if delta.dtype != np.int8 or delta.ndim != 3 or delta.shape[2] != 3 or 0 in delta.shape:
        raise PcvrError(
            f"the perturbation {shown(name)} is {delta.dtype} {list(delta.shape)}: it has to be int8 [H, W, 3]."
        )
    return delta


def _shipped(delta: str, target: str) -> str:
    """Return the name of the perturbation shipped for a goal and a target; any other name stays."""
    if delta not in GOALS:
        return delta
    task = next((name for name, task in TASKS.items() if task.target == target), "caption")
    found = f"tiny-llava-{delta}-{task}"
    return found if (SHIPPED / f"pgd-{found}.safetensors").is_file() else f"tiny-llava-{delta}-caption"


@register_attack("pgd")
def pgd(target: str = DEFAULT_TARGET, preset: str = "scaled", delta: str = "likelihood", **options: Any) -> Attack:
    """Build the attack with a trigger optimised on the base model: :class:`Optimised`, and the target as the answer.

    ``delta`` may also be a goal, ``"likelihood"`` or ``"divergence"``: then it is the perturbation shipped for
    ``tiny-llava`` that was searched with this goal, for the task whose target is ``target``, else for captions. Both
    presets are the same, since the strength is in the file. Which adaptive attackers the paper tried, if any, is not
    known; this one is our choice.
    """
    trigger = from_preset("pgd", Optimised, PRESETS, preset, {"delta": _shipped(delta, target), **options})
    return Attack("pgd", trigger=trigger, target=target, preset=preset)
