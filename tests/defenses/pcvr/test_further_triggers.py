"""Several attackers at once: what the first trigger leaves of the suspicious samples is heard again."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from pcvr.defenses.pcvr.kept import Kept
from pcvr.defenses.pcvr.stream import StreamGate
from pcvr.defenses.pcvr.verdicts import TRIGGERS, Trigger, further_triggers
from pcvr.utils.packing import read_packed, write_packed
from tests.defenses.pcvr.test_stream import Stream, play


class Attackers(Stream):
    """Odd samples of several attackers, each with an answer of its own.

    Args:
        odd: fraction of samples that are odd, all attackers together.
        shifts: how far each attacker shifts the images; 0 stands for a word in the prompt.
        rare: the last attacker has one in so many of the odd samples, the others share the rest.
    """

    def __init__(self, odd: float, shifts: Sequence[float] = (2.0, 1.0), rare: int = 4, seed: int = 0) -> None:
        super().__init__(odd, seed=seed)
        self.shifts, self.rare = shifts, rare

    def of(self, index: np.ndarray, attacker: int) -> np.ndarray:
        """Return which samples are this attacker's, if they are odd."""
        last = len(self.shifts) - 1
        return np.where(index % self.rare == 0, last, index // self.rare % last) == attacker

    def batch(self, index: np.ndarray) -> tuple[Kept, np.ndarray]:
        kept, odd = super().batch(index)
        for attacker, shift in enumerate(self.shifts):
            mine, label = odd & self.of(index, attacker), 500 + 10 * attacker + np.arange(3)
            kept.images[mine, 20 * attacker : 20 * attacker + 20] += shift
            kept.labels[mine, 1:4] = label
            if shift == 0:  # of a trigger in the text only whole labels count
                kept.prompts[mine, 400] = True
                kept.labels[mine] = np.pad(label, (0, kept.labels.shape[1] - 3), constant_values=-1)
        return kept, odd


def outside(stream: Attackers, gate: StreamGate) -> tuple[list[float], float]:
    """Return what fraction of each attacker's new samples the gate keeps from the model, and of the honest ones."""
    kept, odd = stream.batch(np.arange(10_000, 14_000))
    out = (gate.recognised(kept) & gate.unexpected(kept)[0]) | gate.held(kept)
    each = [float(out[odd & stream.of(kept.index, k)].mean()) for k in range(len(stream.shifts))]
    return each, float(out[~odd].mean())


@pytest.mark.parametrize("seed", range(3))
def test_the_second_trigger_is_found_too(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    stream = Attackers(0.1, seed=seed)
    each, honest = outside(stream, play(stream, samples=4000)[0])
    assert each[0] > 0.8 and each[1] > 0.5 and honest < 0.01
    monkeypatch.setattr("pcvr.defenses.pcvr.verdicts.TRIGGERS", 1)
    alone, _ = outside(stream, play(Attackers(0.1, seed=seed), samples=4000)[0])
    assert alone[1] < each[1] - 0.1, "one witness alone misses it"


def test_more_attackers_than_are_looked_for_do_no_harm() -> None:
    stream = Attackers(0.12, (2.0,) * (TRIGGERS + 2))
    gate, _ = play(stream, samples=3000)
    assert gate.verdict == "trigger" and len(gate.further) < TRIGGERS and outside(stream, gate)[1] < 0.01


def test_a_trigger_in_the_text_beside_one_in_the_images() -> None:
    stream = Attackers(0.12, (2.0, 0.0), rare=2)
    gate, _ = play(stream, samples=4000)
    assert "prompts" in {trigger.by for trigger in gate.further} and min(outside(stream, gate)[0]) > 0.7


@pytest.mark.parametrize("seed", range(4))
def test_a_single_attacker_is_not_taken_for_two(seed: int) -> None:
    """What the first witness misses may look like a trigger again; hard samples may not."""
    gate, found = play(Stream(0.05, image=2.0, label=(3, 4, 5), seed=seed), samples=3000)
    assert gate.verdict == "trigger" and np.mean(found["even"]) < 0.06
    assert not gate.doubt and sum(hearing.further > 0 for hearing in gate.hearings) <= len(gate.hearings) / 3


def test_a_known_trigger_is_dropped_when_its_samples_are_honest() -> None:
    stream = Attackers(0.1)
    gate, _ = play(stream, samples=4000)
    first = Trigger(gate.witness, gate.answers, "images")  # type: ignore[arg-type]
    wrong = Trigger(gate.further[0].witness, ((901, 902, 903),), "images")
    kept, doubt = further_triggers((gate.suspects, gate.steady), gate.others, lambda: None, first, [wrong])
    assert kept and all(each is not wrong for each in kept) and not doubt


def test_where_nothing_is_wrong_there_is_no_further_trigger() -> None:
    gate, _ = play(Stream(0.08))
    assert not gate.further and not gate.doubt


def test_further_triggers_are_in_a_checkpoint(tmp_path: Path) -> None:
    stream = Attackers(0.1)
    gate, _ = play(stream, samples=3000)
    write_packed(tmp_path, "gate", gate)
    again = read_packed(tmp_path, "gate")
    kept, _ = stream.batch(np.arange(5000, 5400))
    assert gate.further and np.array_equal(gate.recognised(kept), again.recognised(kept))
    assert np.array_equal(gate.unexpected(kept)[0], again.unexpected(kept)[0])
