"""Defences by name; each is a frozen config with a loss."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from pcvr.defenses.base import Defense
from pcvr.defenses.pcvr import PCVR
from pcvr.defenses.plain import AugmentOnly, PlainSFT
from pcvr.errors import PcvrError, unknown_name

DEFENSES: dict[str, type[Defense]] = {rule.name: rule for rule in (PlainSFT, AugmentOnly, PCVR)}

__all__ = ["DEFENSES", "PCVR", "AugmentOnly", "Defense", "PlainSFT", "get_defense"]


def get_defense(name: str, **options: Any) -> Defense:
    """The defence `name` with `options`.

    Raises:
        PcvrError: unknown name (the nearest is suggested), unknown option or a value out of range.
    """
    if name not in DEFENSES:
        raise unknown_name("defence", name, DEFENSES)
    kind = DEFENSES[name]
    known = {f.name for f in fields(kind)}
    if extra := sorted(set(options) - known):
        raise PcvrError(
            f"defence {name!r} has no option {', '.join(extra)}: it takes {', '.join(sorted(known)) or 'none'}."
        )
    return kind(**options)
