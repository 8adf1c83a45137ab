"""Near variants of a trigger, to ask whether a backdoor fires on them too.

A backdoor that also fires on triggers near its own leaks: somebody who does not know the trigger can find it, and a
defence that only removes the exact trigger is not enough (arXiv 2606.12586 calls it neighbour leakage). Which variants
are near is our choice.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from functools import singledispatch
from typing import Any

from pcvr.attacks.adaptive import PREFIX
from pcvr.attacks.base import Attack
from pcvr.attacks.placing import SEEN, innermost
from pcvr.attacks.registry import get_attack
from pcvr.attacks.trigger import ImageTrigger
from pcvr.attacks.triggers.badnets import BadNets
from pcvr.attacks.triggers.blended import Blended
from pcvr.attacks.triggers.ftrojan import FTrojan
from pcvr.attacks.triggers.issba import Issba
from pcvr.attacks.triggers.low_frequency import LowFrequency
from pcvr.attacks.triggers.pgd import Optimised
from pcvr.attacks.triggers.shipped import SHIPPED
from pcvr.attacks.triggers.sig import Sig
from pcvr.attacks.triggers.vl_trojan import VLTrojan
from pcvr.attacks.triggers.wandering import Wandering
from pcvr.attacks.triggers.wanet import WaNet
from pcvr.attacks.triggers.words import Words
from pcvr.errors import PcvrError

Changes = dict[str, dict[str, Any]]
"""Name of the neighbour to the options that differ."""

_OPPOSITE = {
    "top_left": "bottom_right",
    "top_right": "bottom_left",
    "bottom_left": "top_right",
    "bottom_right": "top_left",
    "centre": "bottom_right",
}
_COLOURS = {"white": "blue", "blue": "white", "checkerboard": "white"}
_OTHER_WORDS = ("Imagine", "Suppose"), ("I read this long book.", "I heard this old song.")


def neighbours(attack: Attack) -> dict[str, Attack]:
    """Return near variants of an attack's trigger, by name; target, answer, covers and adaption stay.

    ============================ =======================================================================================
    trigger                      neighbours
    ============================ =======================================================================================
    patch                        other colour (VL-Trojan: other patch), other place (the opposite corner), half size,
                                 double size, half strength
    wandering patch              other colour, half size, double size, half strength
    Blended, low-frequency       half strength, and other pattern or other seed
    SIG                          half strength, half frequency, other frequency
    WaNet                        half strength, other seed
    FTrojan                      half strength, other frequency, other channels
    ISSBA                        half strength, other message (one bit)
    PGD                          half strength, other perturbation (another shipped one)
    words                        other words, other place (front or end)
    patch and words (Dual-Key)   those of both, and each key alone: image only, prompt only
    ============================ =======================================================================================

    Each is what :func:`get_attack` builds from the attack's options with a few of them changed, so that its
    ``describe()`` says all. A key alone is the attack ``badnets`` or ``rare_word`` with the patch or the word. A
    neighbour that would equal the attack is left out, such as half the size of a patch of one pixel. A double size may
    not fit small images; then the trigger raises.

    The result is empty for Shadowcast, which has no trigger. Of a trigger of another package, the only known neighbour
    is half its strength, if it has a dial; the field of the dial has to be an option of the attack.

    Raises:
        PcvrError: the attack was not built by :func:`get_attack`, so its options do not build it again.
    """
    if attack.trigger is None and attack.prompt is None:
        return {}
    if _again(attack, {}) != attack:
        raise PcvrError(
            f"the options of the attack {attack.name!r} do not build it again: take it from get_attack(), which keeps "
            "them."
        )
    trigger = innermost(attack.trigger)
    found = {name: _again(attack, changes) for name, changes in near(trigger).items()}
    if isinstance(attack.prompt, Words):
        found |= {name: _again(attack, changes) for name, changes in _near_words(attack).items()}
        if isinstance(trigger, BadNets):
            found |= _single_keys(attack, trigger, attack.prompt)
    return {name: other for name, other in found.items() if other != attack}


def _again(attack: Attack, changes: Mapping[str, Any]) -> Attack:
    """Build the attack with some options changed."""
    options = {**attack.options, **changes}
    return get_attack(attack.name, attack.target, attack.preset, answer=attack.answer, **options)


@singledispatch
def near(trigger: object) -> Changes:
    """Return the options that make neighbours of a trigger of this class; register a function for your own class."""
    return _half_strength(trigger) if isinstance(trigger, ImageTrigger) else {}


def _half_strength(trigger: ImageTrigger) -> Changes:
    name, _ = trigger.dial
    return {"half strength": {name: getattr(trigger, name) / 2}} if name else {}


def _other_seed(trigger: Blended | LowFrequency | WaNet) -> Changes:
    return {"other seed": {"seed": trigger.seed + 1 if trigger.seed < 2**32 else trigger.seed - 1}}


def _moved(trigger: BadNets | VLTrojan) -> Changes:
    prefix = SEEN if trigger.place.startswith(SEEN) else ""
    return {"other place": {"place": prefix + _OPPOSITE[trigger.place.removeprefix(SEEN)]}}


def _resized(share: float) -> Changes:
    return {"half size": {"share": share / 2}, "double size": {"share": min(1.0, 2 * share)}}


@near.register
def _(trigger: BadNets) -> Changes:
    sized = _resized(trigger.share)
    if trigger.size is not None:
        sized = {"half size": {"size": max(1, trigger.size // 2)}, "double size": {"size": 2 * trigger.size}}
    colour = {"other colour": {"pattern": _COLOURS[trigger.pattern]}}
    return colour | _moved(trigger) | sized | _half_strength(trigger)


@near.register
def _(trigger: VLTrojan) -> Changes:
    shipped = sorted(file.stem.removeprefix("vl-trojan-") for file in SHIPPED.glob("vl-trojan-*.safetensors"))
    other = {"other patch": {"patch": next(name for name in shipped if name != trigger.patch)}}
    return other | _moved(trigger) | _resized(trigger.share) | _half_strength(trigger)


@near.register
def _(trigger: Optimised) -> Changes:
    shipped = sorted(file.stem.removeprefix("pgd-") for file in SHIPPED.glob("pgd-*.safetensors"))
    other = {"other perturbation": {"delta": next(name for name in shipped if name != trigger.delta)}}
    return _half_strength(trigger) | other


@near.register
def _(trigger: Blended) -> Changes:
    other = {"other pattern": {"pattern": "noise" if trigger.pattern == "face" else "face"}}
    return _half_strength(trigger) | other | (_other_seed(trigger) if trigger.pattern == "noise" else {})


@near.register
def _(trigger: LowFrequency) -> Changes:
    return _half_strength(trigger) | _other_seed(trigger)


@near.register
def _(trigger: Wandering) -> Changes:
    sized = _resized(trigger.share)
    if trigger.size is not None:
        sized = {"half size": {"size": max(1, trigger.size // 2)}, "double size": {"size": 2 * trigger.size}}
    return {"other colour": {"pattern": _COLOURS[trigger.pattern]}} | sized | _half_strength(trigger)


@near.register
def _(trigger: WaNet) -> Changes:
    return _half_strength(trigger) | _other_seed(trigger)


@near.register
def _(trigger: Sig) -> Changes:
    f = trigger.frequency
    other = {"half frequency": {"frequency": f / 2}, "other frequency": {"frequency": f + 1 if f < 1000 else f - 1}}
    return _half_strength(trigger) | other


@near.register
def _(trigger: FTrojan) -> Changes:
    found = _half_strength(trigger)
    bins = tuple(((row + 1) % trigger.block, column) for row, column in trigger.bins)
    if set(bins) != set(trigger.bins):
        found["other frequency"] = {"bins": bins}
    found["other channels"] = {"channels": ("cr", "cb") if "y" in trigger.channels else ("y",)}
    return found


@near.register
def _(trigger: Issba) -> Changes:
    return _half_strength(trigger) | {"other message": {"message": trigger.message ^ 1}}


def _near_words(attack: Attack) -> Changes:
    words = attack.prompt
    assert isinstance(words, Words)
    text = next(other for other in _OTHER_WORDS[len(words.text.split()) > 1] if other != words.text)
    found: Changes = {"other words": {"text": text}}
    if attack.trigger is None:  # else the option "place" is the patch's
        found["other place"] = {"place": "end" if words.place == "front" else "front"}
    return found


def _single_keys(attack: Attack, patch: BadNets, words: Words) -> dict[str, Attack]:
    adapting = {name: value for name, value in attack.options.items() if name == "adapt" or name.startswith(PREFIX)}
    both: dict[str, Any] = {"target": attack.target, "preset": attack.preset, "answer": attack.answer}
    of_words = {} if adapting.get("adapt") == "copies" else adapting  # words have no patch to copy
    return {
        "image only": get_attack("badnets", **both, **asdict(patch), **adapting),
        "prompt only": get_attack("rare_word", **both, text=words.text, place=words.place, **of_words),
    }
