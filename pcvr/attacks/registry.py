"""Attacks by name: the registry, its decorator, and attacks built from presets."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import fields, replace
from typing import Any, TypeVar

from pcvr.attacks.adaptive import PREFIX, adapted
from pcvr.attacks.answers import ANSWERS, RECOLOURED
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
    """Register a builder of attacks under `name`; a decorator, also for your own attacks.

    Args:
        name: its name for :func:`get_attack`.
        target: its default target; None takes the task's.

    Raises:
        PcvrError: the name is not a word or is taken, or the builder is not callable.
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
    adapt: str | None = None,
    **options: Any,
) -> Attack:
    """Build an attack by name, or return one that is built already.

    Args:
        name: a key of :data:`ATTACKS`.
        target: the text that triggered inputs shall produce; keep it harmless. None: the attack's own or the task's.
        preset: ``"scaled"`` (sized to the image) or ``"compat"`` (the figures of the literature).
        task: the task of the data, which decides the default target.
        answer: how the poisoned answer is formed, a key of :data:`~pcvr.attacks.answers.ANSWERS`; by default the
            attack's own way.
        adapt: what an attacker who knows the defence adds, a key of :data:`~pcvr.attacks.adaptive.ADAPTIONS`.
        options: the attack's own options, mostly fields of its trigger; they override the preset. Those that begin with
            ``adapt_`` are the adaption's, such as ``adapt_share``.

    Raises:
        PcvrError: the name, preset, task, adaption or an option is unknown, or a value is out of range.
    """
    if isinstance(name, Attack):
        if target is not None or answer is not None or adapt is not None or options:
            raise PcvrError(f"the attack {name.name!r} is built already: give its options where it is built.")
        return name
    if not isinstance(name, str):
        raise PcvrError(f"attack is {shown(name)}: give a name ({', '.join(ATTACKS)}) or what get_attack() gives.")
    builder = ATTACKS[name]
    if answer is not None:
        check_choice("answer mode", answer, ANSWERS)
    if target is None:
        usual = get_task(task).target
        target = _TARGETS.get(name) or usual
        if answer is not None and not ANSWERS[answer].names_target:
            target = RECOLOURED
    adapting = {key: value for key, value in options.items() if key.startswith(PREFIX)}
    own = {key: value for key, value in options.items() if key not in adapting}
    made = builder(target=target, preset=preset, **own)
    if not isinstance(made, Attack):
        raise PcvrError(f"the builder of attack {name!r} returned {shown(made)}: let it return a pcvr.Attack.")
    made = adapted(made, adapt, adapting)
    said = dict(options) if adapt is None else {"adapt": adapt, **options}
    return replace(made, options=said, answer=made.answer if answer is None else answer)


Part = TypeVar("Part")


def from_preset(
    attack: str,
    kind: Callable[..., Part],
    presets: Mapping[str, Mapping[str, Any]],
    preset: str,
    options: Mapping[str, Any],
) -> Part:
    """Build a trigger from a preset and options, which override it.

    Args:
        attack: the attack's name, for messages.
        kind: a frozen dataclass.
        presets: preset name to field values.
        preset: a key of `presets`.
        options: field values.

    Raises:
        PcvrError: the preset is unknown, or ``kind`` has no field for an option; the message names the known ones.
    """
    check_choice("preset", preset, presets)
    known = [field.name for field in fields(kind)]  # type: ignore[arg-type]
    strange = [name for name in options if name not in known]
    if strange:
        named = cut(", ".join(strange), 100)
        raise PcvrError(f"the attack {attack!r} has no option {named}: it takes {', '.join(known)}.")
    return kind(**{**presets[preset], **{name: as_tuples(value) for name, value in options.items()}})
