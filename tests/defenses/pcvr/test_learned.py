"""A backdoor that was learned already is found among the most likely labels, if these have one answer."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pcvr.defenses.pcvr.kept import Kept
from pcvr.defenses.pcvr.learned import LikelyLabels
from pcvr.defenses.pcvr.pools import HELD, SUSPECTS
from pcvr.defenses.pcvr.stream import StreamGate
from pcvr.utils.packing import read_packed, write_packed
from tests.defenses.pcvr.test_stream import Stream

ANSWER = (3, 4, 5, 6)


class Learned(Stream):
    """Odd samples have the most likely labels, and ordinary surprise."""

    def __init__(self, odd: float, likely: bool = True, **options: object) -> None:
        super().__init__(odd, surprise=1.0, **options)  # type: ignore[arg-type]
        self.likely = likely

    def totals(self, odd: np.ndarray) -> np.ndarray:
        """Return log-likelihoods of labels."""
        usual = -self.rng.gamma(4, 1, len(odd))
        return np.where(odd & self.likely, -self.rng.exponential(0.05, len(odd)), usual)


def play(stream: Learned, gate: StreamGate, steps: range) -> dict[bool, list[bool]]:
    found: dict[bool, list[bool]] = {True: [], False: []}
    for step, kept, odd in stream.batches(steps):
        kept = replace(kept, rank=np.where(odd, 0.3, kept.rank))  # as expected as any
        now, ask = gate.unexpected(kept)
        flagged = gate.recognised(kept) & now
        assert not (gate.learned and ask.any()), "no view decides"
        for kind in found:
            found[kind] += flagged[odd == kind].tolist()
        gate.note(kept.index, flagged)
        gate.see(kept, step, likely=gate.likely.ranks.rank(stream.totals(odd)))
    return found


@pytest.mark.parametrize("odd", [0.02, 0.05, 0.12])
def test_a_learned_backdoor_is_found(odd: float) -> None:
    gate = StreamGate()
    play(Learned(odd, image=2.0, label=ANSWER), gate, range(60))
    assert gate.verdict == "trigger" and gate.learned and gate.answers
    found = play(Learned(odd, image=2.0, label=ANSWER), gate, range(60, 80))
    assert np.mean(found[True]) > 0.8 and np.mean(found[False]) < 0.005


def test_what_the_witness_misses_is_held_back_by_its_answer() -> None:
    gate = StreamGate()
    play(Learned(0.05, image=2.0, label=ANSWER), gate, range(80))
    kept, odd = Learned(0.3, label=ANSWER).batch(np.arange(64))  # without the trigger in their images
    kept = replace(kept, rank=np.full(64, 0.3))
    assert gate.learned and np.mean(gate.told) > 0.5 and not gate.recognised(kept)[odd].all()
    assert np.array_equal(gate.held(kept), odd)
    gate.told = [False] * len(gate.told)
    assert not gate.held(kept).any(), "an answer that is mostly honest"


def test_where_most_labels_are_likely_nothing_is_concluded() -> None:
    """Names of classes: those of an easy class look alike, and are the most likely ones."""
    gate, stream = StreamGate(), Learned(0.1, image=2.0, label=ANSWER)
    stream.totals = lambda odd: np.where(odd, -0.01, -stream.rng.exponential(0.3, len(odd)))  # type: ignore[method-assign]
    found = play(stream, gate, range(60))
    assert gate.verdict != "trigger" and not any(found[True] + found[False])


def test_likely_labels_of_many_answers_are_easy_ones() -> None:
    """Images that are easy may well look like each other."""
    gate = StreamGate()
    found = play(Learned(0.1, image=2.0), gate, range(90))
    assert gate.verdict != "trigger" and not gate.learned and not any(found[True] + found[False])


def test_one_likely_answer_without_a_trigger_is_no_backdoor() -> None:
    gate = StreamGate()
    play(Learned(0.1, label=ANSWER), gate, range(90))
    assert gate.verdict != "trigger" and not gate.learned


def test_a_verdict_outlasts_its_reason() -> None:
    """What is held back becomes less likely, and then belongs to no pool for a while."""
    gate, stream = StreamGate(), Learned(0.05, image=2.0, label=ANSWER)
    play(stream, gate, range(60))
    heard, stream.likely = len(gate.hearings), False
    gate.likely.pool = Kept.none()
    found = play(stream, gate, range(60, 160))
    assert len(gate.hearings) > heard and gate.verdict == "trigger" and gate.learned
    assert np.mean(found[True]) > 0.8


def test_the_pool_is_bounded_and_ranks_are_kept() -> None:
    labels, stream = LikelyLabels(), Learned(0.1, image=2.0, label=ANSWER)
    for start in range(0, 8000, 32):
        kept, odd = stream.batch(np.arange(start, start + 32) % 6000)
        labels.take_in(kept, labels.ranks.rank(stream.totals(odd)))
    assert len(labels.pool.index) == SUSPECTS and labels.pool.rank.min() >= HELD
    assert labels.last.shape == (6000,) and labels.last.dtype == np.float16 and labels.last.max() > HELD
    assert labels.hear(Kept.none(), 3, 0.5, 0.8) is None, "nothing to set them against"
    assert labels.last_of(np.array([6000, 0, 70_000])).tolist() == [0.5, float(labels.last[0]), 0.5]


def test_it_survives_a_checkpoint(tmp_path: Path) -> None:
    gate = StreamGate()
    play(Learned(0.05, image=2.0, label=ANSWER), gate, range(60))
    write_packed(tmp_path, "gate", {"gate": gate})
    again = read_packed(tmp_path, "gate", {"pcvr"}, "cpu")["gate"]
    assert again.learned and np.array_equal(again.likely.last, gate.likely.last)
    assert np.array_equal(again.likely.pool.images, gate.likely.pool.images)
