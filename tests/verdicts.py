"""What a check of an exercise says to right answers, to mistakes, and to a stub."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pcvr.teaching import check


def passes(name: str, answer: Callable[..., Any]) -> None:
    """A right answer is recognised, whatever its form."""
    found = getattr(check, name)(answer)
    assert found.status == "passed", found.message


def is_named(name: str, mistake: Callable[..., Any], word: str) -> None:
    """A mistake is one, and the message names it."""
    found = getattr(check, name)(mistake)
    assert found.status == "mistake" and word in found.message, found.message


def is_not_done(name: str) -> None:
    """A stub is not done, and a function of the wrong signature is a mistake."""
    assert getattr(check, name)(lambda *arguments: ...).status == "not done"
    assert "arguments" in getattr(check, name)(lambda: 0).message
