"""Where classes went: checkpoints and guards saved by 0.1.0 name them by the module that they lay in then."""

from __future__ import annotations

_BASELINES = {
    "abl": ("ABL",),
    "bye": ("BYE",),
    "clean_tune": ("CleanTune",),
    "cleansight": ("Calibration", "CleanSight"),
    "consistency": ("Consistency",),
    "crow": ("Crow",),
    "early_stop": ("EarlyStop",),
    "fine_prune": ("FinePrune",),
    "plain": ("AugmentOnly", "PlainSFT"),
    "robustit": ("RobustIT",),
    "strip": ("Calibration", "Strip"),
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
}
"""Old path of a class to the new one."""


def class_now(path: str) -> str:
    """Return the path of the class that an old file calls `path`, module and all."""
    return MOVED.get(path, path)
