"""Defences, looked up by name: each is a frozen config with a loss."""

from typing import TYPE_CHECKING

from pcvr.defenses.base import Defense, StagePlan
from pcvr.defenses.registry import DEFENSES, build_defense, get_defense, register_defense
from pcvr.utils.lazy import lazy_imports

if TYPE_CHECKING:
    from pcvr.defenses.baselines.abl import ABL
    from pcvr.defenses.baselines.bye import BYE
    from pcvr.defenses.baselines.byorn import BYORn, BYORnF
    from pcvr.defenses.baselines.clean_tune import CleanTune
    from pcvr.defenses.baselines.cleansight import CleanSight
    from pcvr.defenses.baselines.consistency import Consistency
    from pcvr.defenses.baselines.crow import Crow
    from pcvr.defenses.baselines.early_stop import EarlyStop
    from pcvr.defenses.baselines.fine_prune import FinePrune
    from pcvr.defenses.baselines.ortho_purify import OrthoPurify
    from pcvr.defenses.baselines.plain import AugmentOnly, PlainSFT
    from pcvr.defenses.baselines.racer import RACER
    from pcvr.defenses.baselines.robustit import RobustIT
    from pcvr.defenses.baselines.strip import Strip
    from pcvr.defenses.baselines.tcap import TCAP
    from pcvr.defenses.pcvr.defense import PCVR, PaperPCVR

__all__ = [
    "ABL",
    "BYE",
    "DEFENSES",
    "PCVR",
    "RACER",
    "TCAP",
    "AugmentOnly",
    "BYORn",
    "BYORnF",
    "CleanSight",
    "CleanTune",
    "Consistency",
    "Crow",
    "Defense",
    "EarlyStop",
    "FinePrune",
    "OrthoPurify",
    "PaperPCVR",
    "PlainSFT",
    "RobustIT",
    "StagePlan",
    "Strip",
    "build_defense",
    "get_defense",
    "register_defense",
]

__getattr__, __dir__, _ = lazy_imports(__name__)
