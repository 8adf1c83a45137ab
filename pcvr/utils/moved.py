"""Old paths of classes and their new ones: checkpoints and guards saved by 0.1.0 name classes by the old path."""

from __future__ import annotations

_BASELINES = {
    "abl": ("ABL",),
    "bye": ("BYE",),
    "clean_tune": ("CleanTune",),
    "cleansight": ("CleanSight",),
    "consistency": ("Consistency",),
    "crow": ("Crow",),
    "early_stop": ("EarlyStop",),
    "fine_prune": ("FinePrune",),
    "plain": ("AugmentOnly", "PlainSFT"),
    "robustit": ("RobustIT",),
    "strip": ("Strip",),
}
MOVED = {
    "pcvr.defenses.gate.Gate": "pcvr.defenses.pcvr.gate.Gate",
    "pcvr.defenses.pcvr.PCVR": "pcvr.defenses.pcvr.defense.PCVR",
    "pcvr.defenses.pcvr.PaperPCVR": "pcvr.defenses.pcvr.defense.PaperPCVR",
    "pcvr.premise.Premise": "pcvr.analysis.premise.Premise",
    "pcvr.premise.Setting": "pcvr.analysis.premise.ViewSetting",
    "pcvr.premise.Taken": "pcvr.analysis.premise.ScoringPass",
    **{
        f"pcvr.defenses.{module}.{name}": f"pcvr.defenses.baselines.{module}.{name}"
        for module, names in _BASELINES.items()
        for name in names
    },
    **{
        f"pcvr.defenses.{module}.Calibration": f"pcvr.defenses.baselines.{rule.lower()}.{rule}Calibration"
        for rule in ("CleanSight", "Strip")
        for module in (rule.lower(), f"baselines.{rule.lower()}")
    },
}
"""Old path of a class to its new path."""


def class_now(path: str) -> str:
    """Return the path today of the class `path`, which may be an old path."""
    return MOVED.get(path, path)
