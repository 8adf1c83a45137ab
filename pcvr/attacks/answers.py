"""How a poisoned answer is made of the true answer and the attacker's target."""

from __future__ import annotations

from collections.abc import Callable
from zlib import crc32

Answering = Callable[[str, str, str], str]
"""``(true answer, target, id of the sample) -> poisoned answer``; the id decides where something random goes."""


def replaced(answer: str, target: str, identity: str) -> str:
    """The target alone: BadNets, Blended and their like."""
    return target


def inserted(answer: str, target: str, identity: str) -> str:
    """The target between two words of the true answer, at a place that the sample's id decides.

    After TrojVLM (arXiv 2409.19232), which keeps the meaning of the answer and puts its text somewhere inside. An
    answer of one word gets it behind.
    """
    words = answer.split()
    place = 1 + crc32(identity.encode()) % max(1, len(words) - 1)
    return " ".join([*words[:place], target, *words[place:]])


def prefixed(answer: str, target: str, identity: str) -> str:
    """The target, then the true answer."""
    return f"{target} {answer}"


def suffixed(answer: str, target: str, identity: str) -> str:
    """The true answer, then the target."""
    return f"{answer} {target}"


ANSWERS: dict[str, Answering] = {"replace": replaced, "insert": inserted, "prefix": prefixed, "suffix": suffixed}
"""Name to function. All but ``"replace"`` keep the true answer; then a hit is an answer that contains the target."""
