"""Defences by name; each is a frozen config with a loss."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, replace
from typing import Any

from pcvr.defenses.base import Defense
from pcvr.defenses.baselines.abl import ABL
from pcvr.defenses.baselines.bye import BYE
from pcvr.defenses.baselines.clean_tune import CleanTune
from pcvr.defenses.baselines.cleansight import CleanSight
from pcvr.defenses.baselines.consistency import Consistency
from pcvr.defenses.baselines.crow import Crow
from pcvr.defenses.baselines.early_stop import EarlyStop
from pcvr.defenses.baselines.fine_prune import FinePrune
from pcvr.defenses.baselines.plain import AugmentOnly, PlainSFT
from pcvr.defenses.baselines.robustit import RobustIT
from pcvr.defenses.baselines.strip import Strip
from pcvr.defenses.pcvr.defense import PCVR, PaperPCVR
from pcvr.errors import PcvrError, cut, shown
from pcvr.utils.checks import as_tuples, check_choice
from pcvr.utils.renamed import current_names
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


def get_defense(name: str | Defense, **options: Any) -> Defense:
    """The defence `name` with `options`; a defence that is built already is handed back.

    Plain values do: a view may come as a mapping, ``view={"operator": "swap", "share": 0.6}``, whose missing entries
    are the default view's; a tuple as a list.

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
    check_choice("defence", name, DEFENSES)
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
