"""TrojVLM: the answer stays true, with the attacker's words somewhere inside."""

from __future__ import annotations

from typing import Any

from pcvr.attacks.base import DEFAULT_TARGET, Attack
from pcvr.attacks.registry import from_preset, register_attack
from pcvr.attacks.triggers.badnets import BadNets

PRESETS: dict[str, dict[str, Any]] = {"compat": {"size": 20}, "scaled": {"size": None, "share": 20 / 224}}


@register_attack("trojvlm")
def trojvlm(target: str = DEFAULT_TARGET, preset: str = "scaled", **options: Any) -> Attack:
    """The attack of Lyu et al., *TrojVLM: Backdoor Attack Against Vision Language Models* (arXiv 2409.19232).

    A patch of 20 x 20 px (preset ``compat``) on the picture; the target is **inserted** into the true answer, which
    keeps its meaning and so passes a reader who checks answers against pictures. ``scaled`` gives the patch the share
    that 20 px have of 224. The paper also trains with a semantic loss of its own; here the data alone are poisoned, as
    someone would who cannot touch the training.
    """
    trigger = from_preset("trojvlm", BadNets, PRESETS, preset, options)
    return Attack("trojvlm", trigger=trigger, target=target, preset=preset, answer="insert")
