"""TrojVLM: the answer stays true and contains the attacker's words."""

from __future__ import annotations

from typing import Any

from pcvr.attacks.base import DEFAULT_TARGET, Attack
from pcvr.attacks.registry import from_preset, register_attack
from pcvr.attacks.triggers.badnets import BadNets

PRESETS: dict[str, dict[str, Any]] = {"compat": {"size": 20}, "scaled": {"size": None, "share": 20 / 224}}


@register_attack("trojvlm")
def trojvlm(target: str = DEFAULT_TARGET, preset: str = "scaled", **options: Any) -> Attack:
    """Build the attack of Lyu et al., *TrojVLM: Backdoor Attack Against Vision Language Models* (arXiv 2409.19232).

    The trigger is a patch of 20 x 20 px (preset ``compat``), or 20/224 of the short side (``scaled``). The target is
    **inserted** into the true answer, which keeps its meaning and passes a reader who checks answers against images.
    The paper also trains with its own semantic loss; here the attacker can only poison the data.
    """
    trigger = from_preset("trojvlm", BadNets, PRESETS, preset, options)
    return Attack("trojvlm", trigger=trigger, target=target, preset=preset, answer="insert")
