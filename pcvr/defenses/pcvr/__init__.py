"""Patch cross-view regularisation: config, loss, gate, suspicion and anchor."""

from pcvr.defenses.pcvr.defense import PCVR, PaperPCVR

__all__ = ["PCVR", "PaperPCVR"]
