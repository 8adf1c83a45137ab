"""Defences by name; each is a frozen config with a loss."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, replace
from typing import Any

from pcvr.defenses.abl import ABL
from pcvr.defenses.base import Defense
from pcvr.defenses.bye import BYE
from pcvr.defenses.clean_tune import CleanTune
from pcvr.defenses.cleansight import CleanSight
from pcvr.defenses.consistency import Consistency
from pcvr.defenses.crow import Crow
from pcvr.defenses.early_stop import EarlyStop
from pcvr.defenses.fine_prune import FinePrune
from pcvr.defenses.pcvr import PCVR, PaperPCVR
from pcvr.defenses.plain import AugmentOnly, PlainSFT
from pcvr.defenses.robustit import RobustIT
from pcvr.defenses.strip import Strip
from pcvr.errors import PcvrError, unknown_name
from pcvr.views import PatchView

DEFENSES: dict[str, type[Defense]] = {
    rule.name: rule
    for rule in (
        PlainSFT,
        AugmentOnly,
        EarlyStop,
        PCVR,
        PaperPCVR,
        Consistency,
        RobustIT,
        Crow,
        ABL,
        BYE,
        CleanTune,
        FinePrune,
        Strip,
        CleanSight,
    )
}

__all__ = [
    "ABL",
    "BYE",
    "DEFENSES",
    "PCVR",
    "AugmentOnly",
    "CleanSight",
    "CleanTune",
    "Consistency",
    "Crow",
    "Defense",
    "EarlyStop",
    "FinePrune",
    "PaperPCVR",
    "PlainSFT",
    "RobustIT",
    "Strip",
    "get_defense",
]


def get_defense(name: str, **options: Any) -> Defense:
    """The defence `name` with `options`.

    Plain values do: a view may come as a mapping, ``view={"operator": "swap", "share": 0.6}``, whose missing entries
    are the default view's; a tuple as a list.

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
    for option, value in options.items():
        if isinstance(value, list):
            options[option] = tuple(value)
        elif option == "view" and isinstance(value, Mapping):
            parts = {f.name for f in fields(PatchView)}
            if strange := sorted(set(value) - parts):
                raise PcvrError(f"view has no part {', '.join(strange)}: it takes {', '.join(sorted(parts))}.")
            options[option] = replace(kind().view, **value)  # type: ignore[attr-defined]  # the option is known
    return kind(**options)
