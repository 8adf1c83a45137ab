"""Make a poisoned answer from the true answer and the attacker's target."""

from __future__ import annotations

from collections.abc import Callable
from zlib import crc32

Answering = Callable[[str, str, str], str]
"""``(true answer, target, id of the sample) -> poisoned answer``; the id decides random places."""


def replaced(answer: str, target: str, identity: str) -> str:
    """Return the target alone, as BadNets, Blended and most attacks do."""
    return target


def inserted(answer: str, target: str, identity: str) -> str:
    """Insert the target between two words of the true answer, at a place that depends on the sample's id.

    After TrojVLM (arXiv 2409.19232), which keeps the meaning of the answer. A single word is followed by the target.
    """
    words = answer.split()
    place = 1 + crc32(identity.encode()) % max(1, len(words) - 1)
    return " ".join([*words[:place], target, *words[place:]])


def prefixed(answer: str, target: str, identity: str) -> str:
    """Return the target, then the true answer."""
    return f"{target} {answer}"


def suffixed(answer: str, target: str, identity: str) -> str:
    """Return the true answer, then the target."""
    return f"{answer} {target}"


ANSWERS: dict[str, Answering] = {"replace": replaced, "insert": inserted, "prefix": prefixed, "suffix": suffixed}
"""Name to function. All but ``"replace"`` keep the true answer; then a hit is an answer that contains the target."""
