"""The check of the exercise of notebook 09: what can be carried out is carried out, and the outcome is said."""

from __future__ import annotations

from typing import Any

import pytest

import pcvr
from pcvr.teaching import check

SIZE = {"max_steps": 2, "samples": 40}


@pytest.mark.slow
def test_an_attack_is_carried_out() -> None:
    found = check.attacker(lambda: pcvr.get_attack("sig", adapt="covers"), **SIZE)
    assert found and "Attack success without a defence: " in found.message and "with PCVR: " in found.message
    assert "of 2 poisoned samples" in found.message and "did not take in 2 steps" in found.message


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("sig", "returns a str, but an attack is expected"),
        (pcvr.get_attack("sig", adapt="covers", adapt_share=5.0), "alters 30 % of the samples"),
        (pcvr.get_attack("badnets", strength=0.0), "cannot be carried out: the trigger of 'badnets' leaves"),
    ],
)
def test_what_cannot_be_carried_out(value: Any, words: str) -> None:
    found = check.attacker(lambda: value, **SIZE)
    assert not found and found.status == "mistake" and words in found.message


def test_a_stub() -> None:
    assert check.attacker(lambda: ...).status == "not done"


OUTCOMES = [
    ((60, 0), "The defence holds"),
    ((60, 30), "You broke the defence"),
    ((60, 8), "Undecided"),
    ((50, 30), "did not take"),
]


@pytest.mark.parametrize(("hits", "words"), OUTCOMES)
def test_what_it_says_of_the_outcome(monkeypatch: pytest.MonkeyPatch, hits: tuple[int, int], words: str) -> None:
    evaluate, said = pcvr.evaluate, iter(hits)  # the check takes it from its module

    def pretended(*args: Any, **options: Any) -> Any:
        from dataclasses import replace

        return replace(evaluate(*args, **options), hits=next(said))

    monkeypatch.setattr("pcvr.evaluation.evaluate.evaluate", pretended)
    found = check.attacker(lambda: pcvr.get_attack("sig"), **SIZE)
    assert found and words in found.message
