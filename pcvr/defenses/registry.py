"""Defences by name: the registry, the decorator that fills it, and how a defence is built from plain options."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, replace
from typing import Any, TypeVar

from pcvr.defenses.base import Defense
from pcvr.errors import PcvrError, cut, shown
from pcvr.utils.checks import as_tuples
from pcvr.utils.registry import Registry
from pcvr.utils.renamed import current_names
from pcvr.views import PatchView

DEFENSES: Registry[type[Defense]] = Registry(
    "defence", ("pcvr.defenses.baselines", "pcvr.defenses.pcvr"), "pcvr.defenses"
)
"""Name to class, a frozen dataclass of the options. Filled by :func:`register_defense`."""

Kind = TypeVar("Kind", bound=type[Defense])


def register_defense(kind: Kind) -> Kind:
    """Register a defence under its ``name``: a decorator of the class. Defences of your own come in this way too.

    Raises:
        PcvrError: the class is no `Defense`, or its name is no word or is taken.
    """
    if not (isinstance(kind, type) and issubclass(kind, Defense)):
        raise PcvrError(
            f"register_defense got {shown(kind)}: write @register_defense above a class derived from pcvr.Defense."
        )
    DEFENSES.register(kind.name, kind, order=kind.order)
    return kind


def get_defense(name: str | Defense, **options: Any) -> Defense:
    """Build the defence `name` with `options`, or return a defence that is built already.

    A view may come as a mapping, ``view={"operator": "swap", "fraction": 0.6}``, whose missing entries are the default
    view's, and a tuple as a list.

    Raises:
        PcvrError: unknown name (the nearest is suggested), unknown option or a value out of range.
    """
    if isinstance(name, Defense):
        if options:
            raise PcvrError(f"defence {name.name!r} is built already: give {', '.join(options)} where it is built.")
        return name
    if not isinstance(name, str):
        raise PcvrError(f"defense is {shown(name)}: give a name ({', '.join(DEFENSES)}) or one built, as PCVR().")
    return build_defense(name, options)


def build_defense(name: str, options: Mapping[str, Any]) -> Defense:
    """:func:`get_defense` with the options as a mapping, as files and command lines have them.

    Any name may come; an old one, of an option that has another now, is taken.
    """
    kind = DEFENSES[name]
    options = current_names(kind, options)
    known = {f.name for f in fields(kind)}
    if extra := sorted(set(options) - known):
        named = cut(", ".join(extra), 100)
        raise PcvrError(f"defence {name!r} has no option {named}: it takes {', '.join(sorted(known)) or 'none'}.")
    made = {option: as_tuples(value) for option, value in options.items()}
    view = made.get("view")
    if isinstance(view, Mapping):
        parts = {f.name for f in fields(PatchView)}
        if strange := sorted(set(view) - parts):
            raise PcvrError(f"view has no part {cut(', '.join(strange), 100)}: it takes {', '.join(sorted(parts))}.")
        made["view"] = replace(kind().view, **view)  # type: ignore[attr-defined]  # the option is known
    return kind(**made)
