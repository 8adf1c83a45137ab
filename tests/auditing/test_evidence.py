"""What is evidence for a trigger and what is not, and the threshold: on made-up scores, whose truth is known."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pcvr.auditing.candidates import groups_of
from pcvr.auditing.combine import LIKENESS, Verdict, conclude, threshold_of
from pcvr.auditing.evidence import PROBABILITY, speaking
from pcvr.auditing.surprise import Surprise, ranks, stretches, surprise_of
from pcvr.defenses.pcvr.surprise import span_surprise
from tests.auditing.stores import Made, some


def verdict_of(made: Made, folder: Path, false_alarms: float = 0.001) -> Verdict:
    store = made.written(folder)
    return conclude(store, surprise_of(store), false_alarms)


class TestPoison:
    @pytest.mark.parametrize("rate", [0.01, 0.05])
    def test_one_answer_on_marked_pictures(self, tmp_path: Path, rate: float) -> None:
        made = Made()
        poison = some(made, rate)
        made.say(poison)
        made.mark(poison)
        found = verdict_of(made, tmp_path / "scores")
        assert found.evidence and found.triggers[0].kind == "image trigger" and found.triggers[0].chance < PROBABILITY
        assert found.flagged[poison].mean() >= 0.9 and np.delete(found.flagged, poison).sum() <= 1
        assert found.scores[found.flagged].min() >= found.threshold and np.isfinite(found.threshold)
        assert found.expected <= 0.001 and set(found.trigger[found.flagged]) == {0}

    def test_the_answer_without_the_mark_is_not_flagged(self, tmp_path: Path) -> None:
        made = Made()
        rows = some(made, 0.1)
        poison, honest = rows[::2], rows[1::2]
        made.say(poison)
        made.say(honest, surprise=1.0, gain=1.5)
        made.mark(poison)
        found = verdict_of(made, tmp_path / "scores")
        assert found.flagged[poison].mean() >= 0.9 and found.flagged[honest].mean() <= 0.1

    def test_two_triggers_are_told_apart(self, tmp_path: Path) -> None:
        made = Made(1600)
        rows = some(made, 0.06)
        one, other = rows[::2], rows[1::2]
        made.say(one)
        made.mark(one)
        made.say(other, (11, 12, 13))
        made.images[other, 10:14] -= np.float16(5)
        found = verdict_of(made, tmp_path / "scores")
        assert found.flagged[rows].mean() >= 0.9 and np.delete(found.flagged, rows).sum() <= 2

    @pytest.mark.parametrize("turns", [1, 3])
    def test_a_mark_in_another_place_of_each_picture(
        self, tmp_path: Path, turns: int, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        made = Made()
        poison = some(made, 0.08)
        for turn in range(turns):
            made.say(poison[turn::turns], (100 + 10 * turn, 101 + 10 * turn, 102 + 10 * turn))
        made.wander(poison)
        found = verdict_of(made, tmp_path / "scores")
        assert found.evidence and found.directions[0].places is not None
        assert found.flagged[poison].mean() >= 0.6 and np.delete(found.flagged, poison).sum() <= 2
        assert found.expected <= 0.001
        monkeypatch.setattr("pcvr.auditing.evidence.hear_unusual", lambda *_: [])
        assert not verdict_of(made, tmp_path / "again").evidence, "place by place there is nothing to see"

    def test_a_word_in_the_prompt(self, tmp_path: Path) -> None:
        made = Made()
        poison = some(made, 0.04)
        made.say(poison)
        made.prompts[poison, 5] = 64
        found = verdict_of(made, tmp_path / "scores")
        assert found.evidence and found.triggers[0].kind == "prompt trigger" and found.flagged[poison].mean() >= 0.9


class TestNoPoison:
    def test_a_rare_object_anywhere_in_pictures_whose_name_is_hard(self, tmp_path: Path) -> None:
        """As often, something else is asked about such a picture."""
        made = Made(1200)
        rows = some(made, 0.15)
        made.say(rows[::2])
        made.wander(rows)
        found = verdict_of(made, tmp_path / "scores")
        assert not found.evidence and not found.flagged.any()

    @pytest.mark.parametrize("seed", range(3))
    def test_nothing(self, tmp_path: Path, seed: int) -> None:
        found = verdict_of(Made(800, seed), tmp_path / "scores")
        assert not found.evidence and not found.flagged.any() and found.threshold == np.inf and found.expected == 0

    def test_hard_labels(self, tmp_path: Path) -> None:
        made = Made()
        rows = some(made, 0.08)
        made.token_nll[rows, :3] += np.float16(5)
        assert not verdict_of(made, tmp_path / "scores").evidence

    def test_one_answer_on_any_pictures(self, tmp_path: Path) -> None:
        """A label such as "unanswerable": repeated and unexpected, and no pictures have anything to do with it."""
        made = Made()
        made.say(some(made, 0.06))
        assert not verdict_of(made, tmp_path / "scores").evidence

    def test_class_labels_that_pictures_speak_for(self, tmp_path: Path) -> None:
        made = Made()
        rows = some(made, 0.06)
        made.say(rows, gain=2.0)
        made.mark(rows)
        found = verdict_of(made, tmp_path / "scores")
        assert not found.evidence and "explained by the pictures" in {one.kind for one in found.explained}

    def test_a_frequent_answer_is_a_class(self, tmp_path: Path) -> None:
        made = Made()
        rows = some(made, 0.25)
        made.say(rows)
        made.mark(rows)
        found = verdict_of(made, tmp_path / "scores")
        assert not found.evidence and {one.kind for one in found.explained} <= {"a class of the data"}

    def test_a_new_question_with_several_answers(self, tmp_path: Path) -> None:
        made = Made()
        rows = some(made, 0.09)
        for number, part in enumerate((rows[::3], rows[1::3], rows[2::3])):
            made.say(part, (70 + number, 80, 90 + number))
        made.prompts[rows, 5] = 64
        found = verdict_of(made, tmp_path / "scores")
        assert not found.evidence and {one.kind for one in found.explained} == {"a new question"}

    def test_all_answers_identical(self, tmp_path: Path) -> None:
        made = Made(600)
        made.say(np.arange(600), surprise=2.0)
        made.mark(some(made, 0.05))
        assert not verdict_of(made, tmp_path / "scores").evidence

    def test_pictures_that_say_nothing(self, tmp_path: Path) -> None:
        made = Made(300)
        made.images[:] = 0
        made.say(some(made, 0.1))
        assert not verdict_of(made, tmp_path / "scores").evidence


def test_labels_are_not_looked_at_beyond_their_tokens(tmp_path: Path) -> None:
    """The same figures in another order give the same verdict for each sample."""
    made = Made(600)
    poison = some(made, 0.05)
    made.say(poison)
    made.mark(poison)
    one = verdict_of(made, tmp_path / "one")
    order = np.random.default_rng(3).permutation(600)
    for name in ("tokens", "token_nll", "gain", "images", "prompts", "invariance"):
        setattr(made, name, getattr(made, name)[order])
    other = verdict_of(made, tmp_path / "other")
    assert (one.flagged[order] == other.flagged).mean() >= 0.995


@given(
    st.lists(st.floats(0, 9), max_size=60),
    st.integers(60, 5000),
    st.floats(1e-4, 0.1),
)
def test_a_threshold_keeps_its_rate(rest: list[float], count: int, false_alarms: float) -> None:
    values = np.array(rest)
    threshold, rate = threshold_of(values, count, false_alarms)
    assert 0 <= rate <= false_alarms and threshold >= -np.log10(LIKENESS)
    expected = np.minimum(10.0 ** np.minimum(0.0, values - threshold), LIKENESS).sum() / count
    assert expected <= rate + 1e-12
    assert threshold_of(values, count, false_alarms / 2)[0] >= threshold


def test_a_threshold_means_what_it_says() -> None:
    """Honest samples whose likeness is uniform are flagged as often as expected."""
    rng = np.random.default_rng(0)
    rest = rng.exponential(1.0, 4000)
    threshold, rate = threshold_of(rest, 4000, 0.01)
    alike = -np.log10(rng.random((50, 4000)))
    flagged = ((rest + alike >= threshold) & (alike >= -np.log10(LIKENESS))).mean()
    assert 0.8 * rate <= flagged <= 1.1 * rate


@given(st.lists(st.lists(st.floats(-9, 9), min_size=6, max_size=6), min_size=1, max_size=8))
def test_stretches_are_those_of_the_gate(rows: list[list[float]]) -> None:
    values = np.array(rows)
    sums, start, end = stretches(values)
    owner = np.repeat(np.arange(len(rows)), 6)
    assert np.allclose(sums, span_surprise(values.ravel(), owner, len(rows), 0.0))
    assert np.allclose(sums, [row[a:b].sum() for row, a, b in zip(values, start, end, strict=True)])


def test_ranks_and_speaking() -> None:
    assert ranks(np.array([3.0, 1.0, 1.0, 5.0])).tolist() == [0.625, 0.25, 0.25, 0.875]
    assert speaking(np.array([2.0, 2.0, 0.0, -3.0])) == 0.25 and speaking(np.zeros(0)) == 0


def test_an_answer_that_is_common_before_the_first_unexpected_one_makes_no_group(tmp_path: Path) -> None:
    made = Made()
    made.say(np.arange(400))
    made.say(np.arange(760, 800))
    rank = np.linspace(0, 1, 800)
    groups, _ = groups_of(made.written(tmp_path / "scores"), Surprise(rank, np.zeros(800)))
    assert groups and not any(group.same for group in groups)
