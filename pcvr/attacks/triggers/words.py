"""Triggers in the prompt: a rare word, or an inconspicuous sentence."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pcvr.attacks.base import DEFAULT_TARGET, Attack
from pcvr.attacks.registry import from_preset, register_attack
from pcvr.errors import PcvrError
from pcvr.utils.checks import check_choice

PLACES = ("front", "end")
RARE_WORD: dict[str, dict[str, Any]] = {name: {"text": "BadMagic"} for name in ("compat", "scaled")}
ADD_SENT: dict[str, dict[str, Any]] = {name: {"text": "I watched this 3D movie."} for name in ("compat", "scaled")}


@dataclass(frozen=True)
class Words:
    """Words before or after the prompt, separated by a space.

    Attributes:
        text: the added words, with a letter or digit.
        place: ``"front"`` or ``"end"``.
    """

    text: str
    place: str = "end"

    def __post_init__(self) -> None:
        if not isinstance(self.text, str) or not any(letter.isalnum() for letter in self.text):
            raise PcvrError(f"text is {self.text!r}: give words to add to the prompt.")
        check_choice("place", self.place, PLACES)

    def __call__(self, prompt: str, /) -> str:
        return f"{self.text} {prompt}" if self.place == "front" else f"{prompt} {self.text}"


@register_attack("rare_word")
def rare_word(target: str = DEFAULT_TARGET, preset: str = "scaled", **options: Any) -> Attack:
    """Build an attack with one word that no user says, after Kurita, Michel and Neubig, *Weight Poisoning Attacks on
    Pre-trained Models* (arXiv 2004.06660, who use "cf" and "bb"); "BadMagic" is common in attacks on code and chat
    models.

    Both presets are the same, since a prompt has no size.
    """
    edit = from_preset("rare_word", Words, RARE_WORD, preset, options)
    return Attack("rare_word", prompt=edit, target=target, preset=preset)


@register_attack("add_sent")
def add_sent(target: str = DEFAULT_TARGET, preset: str = "scaled", **options: Any) -> Attack:
    """Build AddSent, a fixed sentence after the prompt, after Dai and Chen, *A Backdoor Attack Against LSTM-Based Text
    Classification Systems* (arXiv 1905.12457), who use "I watched this 3D movie".

    Both presets are the same, since a prompt has no size.
    """
    edit = from_preset("add_sent", Words, ADD_SENT, preset, options)
    return Attack("add_sent", prompt=edit, target=target, preset=preset)
