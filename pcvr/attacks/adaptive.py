"""Attackers who know the defence: what they add to any attack, by name.

``get_attack(name, adapt="covers", adapt_share=0.25)`` adapts an attack; options that begin with ``adapt_`` are fields
of the adaption. All four answer the premise that poisoned answers are invariant to patch views (arXiv 2604.04488).
Which adaptive attackers the paper tried, if any, is not known, so they are our choice.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

from pcvr.attacks.base import Attack, Cover
from pcvr.attacks.composed import Copies, InTurn, Perturbed
from pcvr.attacks.trigger import Patch, Trigger
from pcvr.errors import PcvrError, cut
from pcvr.utils.checks import check_choice, check_fields, check_number, check_whole

PREFIX = "adapt_"
"""Begins the names of an adaption's options."""


class Adaption(ABC):
    """A function from an attack to the adapted attack. A subclass is a frozen dataclass; its fields are its options."""

    @abstractmethod
    def __call__(self, attack: Attack) -> Attack:
        """Return the adapted attack.

        Raises:
            PcvrError: the attack lacks what the adaption changes.
        """


@dataclass(frozen=True)
class Views(Adaption):
    """Poison is learned on patch views: they change the poisoned images before the trigger is put on.

    So the target is learned on pictures like those that the defence compares with the originals. A triggered input at
    test time has the plain trigger. Clean samples are never perturbed, so a view can itself become a part of what the
    model learns: then the plain trigger alone fires less often. The fields are those of
    :class:`~pcvr.attacks.composed.Perturbed`.
    """

    operator: str = "shuffle"
    fraction: float = 0.6
    patch: int | None = None

    def __post_init__(self) -> None:
        self.view()

    def view(self) -> Perturbed:
        """Return the view."""
        return Perturbed(self.operator, self.fraction, self.patch)

    def __call__(self, attack: Attack) -> Attack:
        return replace(attack, disguise=self.view())


@dataclass(frozen=True)
class BrokenInvariance(Views):
    """Cover samples: the trigger, then a patch view over it, and the true answer.

    So the model learns to lose the target on a view, and the invariance that the defence looks for is broken.

    Attributes:
        share: cover samples for each poisoned one, above 0 and up to 100.
    """

    share: float = 0.5

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_share(self.share)

    def __call__(self, attack: Attack) -> Attack:
        _need_trigger(attack)
        view = self.view()
        worn = view if attack.trigger is None else InTurn(attack.trigger, view)
        return _covered(attack, Cover("view of the trigger", self.share, worn, attack.prompt))


@dataclass(frozen=True)
class Covers(Adaption):
    """Cover samples: the whole trigger, unchanged, and the true answer.

    So the trigger does not decide the answer alone, and samples with it look less alike to a gate.

    Attributes:
        share: cover samples for each poisoned one, above 0 and up to 100.
    """

    share: float = 0.5

    def __post_init__(self) -> None:
        _check_share(self.share)

    def __call__(self, attack: Attack) -> Attack:
        _need_trigger(attack)
        return _covered(attack, Cover("whole trigger", self.share, attack.trigger, attack.prompt))


@dataclass(frozen=True)
class ManyCopies(Adaption):
    """The patch in many places, in the middle of every cell of a grid, so that a view leaves some of them.

    Attributes:
        count: cells along a side, 2 to 64.
    """

    count: int = 4

    def __post_init__(self) -> None:
        check_fields(self)
        check_whole("adapt_count", self.count, 2, 64, "copies along a side")

    def __call__(self, attack: Attack) -> Attack:
        if not isinstance(attack.trigger, Patch):
            raise PcvrError(
                f"the attack {attack.name!r} has no patch to copy: choose one with a patch, such as 'badnets', or "
                "another adapt."
            )

        def copied(trigger: Trigger | None) -> Trigger | None:
            return Copies(trigger, self.count) if isinstance(trigger, Patch) else trigger

        covers = tuple(replace(cover, trigger=copied(cover.trigger)) for cover in attack.covers)
        return replace(attack, trigger=copied(attack.trigger), covers=covers)


ADAPTIONS: dict[str, type[Adaption]] = {
    "views": Views,
    "broken_invariance": BrokenInvariance,
    "covers": Covers,
    "copies": ManyCopies,
}
"""Name to adaption: a frozen dataclass whose docstring says what it does, and whose instances adapt an attack."""


def adapted(attack: Attack, adapt: str | None, options: Mapping[str, Any]) -> Attack:
    """Adapt an attack.

    Args:
        attack: the plain attack.
        adapt: a key of :data:`ADAPTIONS`; None leaves the attack as it is.
        options: fields of the adaption, each with :data:`PREFIX` in front.

    Raises:
        PcvrError: the adaption or an option is unknown, a value is out of range, or the two do not fit.
    """
    if adapt is None:
        if options:
            raise PcvrError(f"{cut(', '.join(options), 100)} goes with adapt: give one of {', '.join(ADAPTIONS)}.")
        return attack
    check_choice("adaption", adapt, ADAPTIONS)
    kind: Any = ADAPTIONS[adapt]
    known = [PREFIX + field.name for field in fields(kind)]
    if strange := [name for name in options if name not in known]:
        raise PcvrError(
            f"the adaption {adapt!r} has no option {cut(', '.join(strange), 100)}: it takes {', '.join(known)}."
        )
    made: Adaption = kind(**{name.removeprefix(PREFIX): value for name, value in options.items()})
    return made(attack)


def _check_share(share: float) -> None:
    check_number("adapt_share", share, 0, 100, "cover samples for each poisoned one", above=True)


def _need_trigger(attack: Attack) -> None:
    if attack.trigger is None and attack.prompt is None:
        raise PcvrError(
            f"the attack {attack.name!r} has no trigger that a cover sample could have: choose another attack, or "
            "adapt='views'."
        )


def _covered(attack: Attack, cover: Cover) -> Attack:
    return replace(attack, covers=(*attack.covers, cover))
