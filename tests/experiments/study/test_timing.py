"""The time left comes from like cells, and says what it does not know."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pcvr.experiments import Experiment
from pcvr.experiments.study.timing import Clock, TimeLeft, in_words

FAST, SLOW = Experiment("none"), Experiment("BYE", "bye", clean=200)


def seeds(cell: Experiment, count: int) -> list[Experiment]:
    return [replace(cell, seed=seed) for seed in range(count)]


def test_it_is_not_the_mean_of_everything() -> None:
    clock = Clock()
    for cell in seeds(FAST, 10):
        clock.saw(cell, 10.0)
    clock.saw(SLOW, 100.0)
    assert clock.left(seeds(SLOW, 3), {}) == TimeLeft(300.0)
    assert clock.left(seeds(FAST, 3), {}) == TimeLeft(30.0)
    assert clock.left([*seeds(FAST, 2), *seeds(SLOW, 1)], {"a": (FAST, 4.0)}) == TimeLeft(6 + 20 + 100)


def test_a_like_cell_has_the_same_defence_task_and_steps() -> None:
    clock = Clock()
    clock.saw(FAST, 10.0)
    same = [replace(FAST, attack="sig", seed=3, rate=0.01), replace(FAST, label="another row")]
    assert [clock.expected(cell) for cell in same] == [10.0, 10.0]
    changes = [{"defense": "pcvr"}, {"task": "vqa"}, {"max_steps": 100}, {"model": "tiny-blip2"}, {"tests": 64}]
    others = [replace(FAST, **change) for change in changes]  # type: ignore[arg-type]
    assert [clock.expected(cell) for cell in others] == [None] * 5


def test_the_options_of_a_defence_count_where_they_were_measured() -> None:
    clock, cheap, dear = Clock(), Experiment("a", "pcvr", {"cap": 0.1}), Experiment("b", "pcvr", {"cap": 0.2})
    clock.saw(cheap, 10.0)
    assert clock.expected(dear) == 10.0
    clock.saw(dear, 30.0)
    assert (clock.expected(cheap), clock.expected(dear)) == (10.0, 30.0)


def test_what_was_never_measured_is_said() -> None:
    clock = Clock()
    assert clock.left(seeds(SLOW, 2), {}) == TimeLeft(0.0, 2)
    clock.saw(FAST, 10.0)
    left = clock.left([*seeds(FAST, 3), SLOW], {"a": (SLOW, 5.0)})
    assert left == TimeLeft(30.0, 2)
    assert str(left) == "at least 30 s: 2 cells are of kinds not measured yet"
    assert str(TimeLeft(0.0, 1)) == "not known yet: 1 cell is of kinds not measured yet"
    assert str(TimeLeft(4000.0)) == "about 1 h 07 min"


def test_several_processes_share_the_rest() -> None:
    clock = Clock(jobs=2)
    clock.saw(FAST, 10.0)
    clock.saw(SLOW, 100.0)
    assert clock.left(seeds(FAST, 4), {}).seconds == 20
    assert clock.left([SLOW, *seeds(FAST, 4)], {}).seconds == 100
    assert clock.left(seeds(FAST, 1), {"a": (SLOW, 30.0), "b": (FAST, 12.0)}).seconds == 70
    assert clock.left([], {}).seconds == 0


def test_earlier_calls_are_scaled_by_what_this_machine_shows() -> None:
    clock = Clock()
    clock.remember([(FAST, 10.0), (SLOW, 100.0)])
    assert clock.left([FAST, SLOW], {}).seconds == 110
    clock.saw(FAST, 30.0)
    assert clock.expected(FAST) == 30 and clock.expected(SLOW) == pytest.approx(300)
    clock.saw(SLOW, 200.0)
    assert clock.expected(SLOW) == 200


@pytest.mark.parametrize(
    ("seconds", "words"), [(0.4, "0 s"), (59, "59 s"), (59.7, "1 min"), (3599, "1 h 00 min"), (9000, "2 h 30 min")]
)
def test_in_words(seconds: float, words: str) -> None:
    assert in_words(seconds) == words
