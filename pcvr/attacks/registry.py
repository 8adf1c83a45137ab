"""Attacks by name: the registry, the decorator that fills it, and how a builder makes an attack of a preset."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import fields, replace
from typing import Any, TypeVar

from pcvr.attacks.base import Attack
from pcvr.errors import PcvrError, cut, shown
from pcvr.tasks import get_task
from pcvr.utils.checks import as_tuples, check_choice
from pcvr.utils.registry import Registry

ATTACKS: Registry[Callable[..., Attack]] = Registry("attack", ("pcvr.attacks.triggers",), "pcvr.attacks")
"""Name to builder: ``builder(target=..., preset=..., **options) -> Attack``. Filled by :func:`register_attack`."""
_TARGETS: dict[str, str | None] = {}
"""Name to the target of attacks that have one of their own."""

Builder = TypeVar("Builder", bound=Callable[..., Attack])


def register_attack(name: str, target: str | None = None) -> Callable[[Builder], Builder]:
    """Register a builder under `name`: a decorator. Attacks of your own come in this way too.

    Args:
        name: by which :func:`get_attack` finds it.
        target: what it makes a model say if the user names nothing; None takes the task's own target.

    Raises:
        PcvrError: the name is no word or is taken, or there is nothing to call.
    """
    if not isinstance(name, str):
        raise PcvrError(f'the name of the attack is {shown(name)}: write @register_attack("name") above its builder.')

    def enter(builder: Builder) -> Builder:
        if not callable(builder):
            raise PcvrError(
                f"the builder of attack {name!r} is {shown(builder)}: give a function that returns an Attack."
            )
        ATTACKS.register(name, builder)
        _TARGETS[name] = target
        return builder

    return enter


def get_attack(
    name: str | Attack,
    target: str | None = None,
    preset: str = "scaled",
    *,
    task: str = "caption",
    answer: str | None = None,
    **options: Any,
) -> Attack:
    """Build an attack by name, or return one that is built already.

    Args:
        name: a key of :data:`ATTACKS`.
        target: what the model is to say when triggered; keep it harmless. By default the attack's own, else the task's.
        preset: ``"scaled"`` (sized to the picture) or ``"compat"`` (the literature's figures).
        task: what is asked of the pictures, which decides the default target.
        answer: how the poisoned answer is made, a key of :data:`ANSWERS`; by default the attack's own way.
        options: the attack's own, mostly fields of its trigger; they go before the preset's.

    Raises:
        PcvrError: for an unknown name (with the nearest one), preset, task or option, or a value out of range.
    """
    if isinstance(name, Attack):
        if target is not None or answer is not None or options:
            raise PcvrError(f"the attack {name.name!r} is built already: give its options where it is built.")
        return name
    if not isinstance(name, str):
        raise PcvrError(f"attack is {shown(name)}: give a name ({', '.join(ATTACKS)}) or what get_attack() gives.")
    builder = ATTACKS[name]
    if target is None:
        usual = get_task(task).target
        target = _TARGETS.get(name) or usual
    made = builder(target=target, preset=preset, **options)
    if not isinstance(made, Attack):
        raise PcvrError(f"the builder of attack {name!r} returned {shown(made)}: let it return a pcvr.Attack.")
    return replace(made, options=dict(options), answer=made.answer if answer is None else answer)


Part = TypeVar("Part")


def from_preset(
    attack: str,
    kind: Callable[..., Part],
    presets: Mapping[str, Mapping[str, Any]],
    preset: str,
    options: Mapping[str, Any],
) -> Part:
    """Build a trigger from a preset with options laid over it.

    Args:
        attack: the attack's name, for messages.
        kind: a frozen dataclass.
        presets: preset name to field values.
        preset: which of them.
        options: field values of the caller.

    Raises:
        PcvrError: for an unknown preset, or an option that ``kind`` has no field for; the known ones are named.
    """
    check_choice("preset", preset, presets)
    known = [field.name for field in fields(kind)]  # type: ignore[arg-type]
    strange = [name for name in options if name not in known]
    if strange:
        named = cut(", ".join(strange), 100)
        raise PcvrError(f"the attack {attack!r} has no option {named}: it takes {', '.join(known)}.")
    return kind(**{**presets[preset], **{name: as_tuples(value) for name, value in options.items()}})
