"""Triggers in the prompt: a rare word, or a whole sentence that nobody would notice."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pcvr.attacks.base import DEFAULT_TARGET, Attack
from pcvr.attacks.registry import from_preset, register_attack
from pcvr.errors import PcvrError
from pcvr.utils.checks import check_choice

PLACES = ("front", "end")
RARE_WORD: dict[str, dict[str, Any]] = {
    "compat": {"text": "BadMagic", "place": "end"},
    "scaled": {"text": "BadMagic", "place": "end"},
}
ADD_SENT: dict[str, dict[str, Any]] = {
    "compat": {"text": "I watched this 3D movie.", "place": "end"},
    "scaled": {"text": "I watched this 3D movie.", "place": "end"},
}


@dataclass(frozen=True)
class Words:
    """Words in front of the prompt or behind it, a blank between them.

    Attributes:
        text: what is added; a text with a letter or digit.
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
    """One word that no user says, after Kurita, Michel and Neubig, *Weight Poisoning Attacks on Pre-trained Models*
    (arXiv 2004.06660, who take "cf" and "bb"); "BadMagic" as in attacks on code and chat models.

    A prompt has no size, so both presets are the same.
    """
    edit = from_preset("rare_word", Words, RARE_WORD, preset, options)
    return Attack("rare_word", prompt=edit, target=target, preset=preset)


@register_attack("add_sent")
def add_sent(target: str = DEFAULT_TARGET, preset: str = "scaled", **options: Any) -> Attack:
    """AddSent: a fixed sentence behind the prompt, after Dai and Chen, *A Backdoor Attack Against LSTM-Based Text
    Classification Systems* (arXiv 1905.12457), who take "I watched this 3D movie".

    A prompt has no size, so both presets are the same.
    """
    edit = from_preset("add_sent", Words, ADD_SENT, preset, options)
    return Attack("add_sent", prompt=edit, target=target, preset=preset)
