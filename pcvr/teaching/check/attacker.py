"""Exercise: an attacker who knows the defence; the check says what it achieved."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from pcvr.errors import PcvrError, first_line
from pcvr.evaluation.intervals import format_rate
from pcvr.teaching.check.verdict import right_verdict
from pcvr.teaching.core import Mistake, ask, exercise

if TYPE_CHECKING:
    from pcvr.attacks import Attack

RATE, ALTERED = 0.05, 0.15
"""Fraction of poisoned samples, and the largest fraction of altered ones (poisoned and covers together)."""
_TESTS = 64


@exercise("write an attacker who knows the defence")
def attacker(build: Callable[[], Any], max_steps: int = 100, samples: int = 1000) -> str:
    """Check ``my_attacker()``: an attack that `pcvr.poison` accepts; then train with and without PCVR against it.

    The reader has solved it when the attack can be carried out; whether it gets through is what they find out.

    Args:
        build: the reader's function.
        max_steps: optimiser steps of each of the two trainings.
        samples: training scenes.
    """
    attack = ask(build, call="my_attacker()")
    from pcvr.attacks import Attack

    if not isinstance(attack, Attack):
        raise Mistake(
            f"my_attacker() returns a {type(attack).__name__}, but an attack is expected: pcvr.get_attack(...)."
        )
    try:
        return _carried_out(attack, max_steps, samples)
    except PcvrError as problem:
        raise Mistake(f"This attack cannot be carried out: {first_line(problem, 300)}") from problem


def _carried_out(attack: Attack, max_steps: int, samples: int) -> str:
    from pcvr.attacks import poison
    from pcvr.data import open_data
    from pcvr.evaluation.evaluate import evaluate
    from pcvr.experiments.gate_report import gate_report
    from pcvr.models.load import load
    from pcvr.training import TrainConfig, finetune

    tests = open_data("scenes", split="test", n=_TESTS)
    base = load("tiny-llava")
    data = poison(open_data("scenes", n=samples), attack, RATE, model=base)
    altered = len(data.manifest.altered) / len(data)
    if altered > ALTERED:
        raise Mistake(
            f"The attack alters {100 * altered:.0f} % of the samples, its covers among them: the attacker of this "
            f"exercise controls {100 * ALTERED:.0f} %, so give a smaller share of covers."
        )
    config = TrainConfig(max_steps=max_steps)
    plain = evaluate(finetune(base, data, "none", config).model, tests, attack)
    defended = finetune(base, data, "pcvr", config)
    ours = evaluate(defended.model, tests, attack)
    (gate,) = gate_report(defended.run.state, data.poisoned, len(data))
    said = (
        f"Attack success without a defence: {format_rate(plain.hits, plain.counted)}; with PCVR: "
        f"{format_rate(ours.hits, ours.counted)}. The gate flagged {gate['flagged'] - gate['false alarms']} of "
        f"{len(data.poisoned)} poisoned samples and {gate['false alarms']} others."
    )
    outcomes = {
        "did not take": f"Your attack did not take in {max_steps} steps, so this says nothing about the defence.",
        "got through": "You broke the defence. How would you change it?",
        "held": "The defence holds. What does it see of your samples?",
        "undecided": f"Undecided: {ours.counted} images are too few for this rate.",
    }
    return f"{said} {outcomes[right_verdict(plain.hits, ours.hits, ours.counted)]}"
