"""The streaming gate on made-up streams: what it decides, and what it keeps."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pcvr.defenses.pcvr.inputs import LABEL, WORDS
from pcvr.defenses.pcvr.kept import Kept
from pcvr.defenses.pcvr.one_answer import FEW, few_answers, says
from pcvr.defenses.pcvr.pools import HELD, OTHERS, SUSPECTS
from pcvr.defenses.pcvr.stream import EARLY, FIRST, VIEWED, StreamGate
from pcvr.defenses.pcvr.surprise import SurpriseRanks
from pcvr.utils.packing import read_packed, write_packed

WIDTH = 200


class Stream:
    """Samples with inputs and surprises of known kinds.

    Args:
        odd: fraction of samples whose labels are unexpected, beyond the usual few.
        image: how far the images of odd samples are shifted.
        prompt: whether odd samples have a word of their own in the prompt.
        label: tokens that odd samples' labels share; none: each its own.
        turns: number of answers that odd samples have by turns, instead of `label`.
        steady: odd samples are as expected as others, but their labels hardly change with a view.
        covers: fraction of samples with the images of odd ones, and expected labels.
        surprise: mean surprise of odd samples; that of others is 1.
    """

    def __init__(
        self,
        odd: float,
        image: float = 0.0,
        prompt: bool = False,
        label: tuple[int, ...] = (),
        covers: float = 0.0,
        seed: int = 0,
        surprise: float = 6.0,
        turns: int = 0,
        steady: bool = False,
    ) -> None:
        self.rng = np.random.default_rng(seed)
        self.odd, self.image, self.prompt, self.label, self.covers = odd, image, prompt, label, covers
        self.surprise, self.turns, self.steady = surprise, turns, steady
        self.ranks = SurpriseRanks()

    def batch(self, index: np.ndarray) -> tuple[Kept, np.ndarray]:
        """Return samples, each always the same, and which of them are odd."""
        draws = np.stack([np.random.default_rng(int(i)).random(2) for i in index])
        odd, cover = draws[:, 0] < self.odd, draws[:, 0] > 1 - self.covers
        unexpected = odd & (not self.steady)
        surprise = np.where(
            unexpected, self.rng.normal(self.surprise, 1, len(index)), self.rng.exponential(1, len(index))
        )
        rank = self.ranks.rank_labels(surprise.clip(0.01), np.arange(len(index)), index, len(index))
        images = np.stack([np.random.default_rng([int(i), 1]).normal(size=WIDTH) for i in index])
        images[odd | cover, :20] += self.image
        prompts = np.zeros((len(index), WORDS), dtype=bool)
        prompts[np.arange(len(index)), (draws[:, 1] * 20).astype(int)] = True
        prompts[odd, 500] = self.prompt
        labels = np.full((len(index), LABEL), -1)
        labels[:, :6] = self.rng.integers(10, 400, (len(index), 6))
        if self.label:
            labels[odd, 1 : 1 + len(self.label)] = self.label
        if self.turns:
            labels[odd, :4] = 500 + 10 * (index[odd] % self.turns)[:, None] + np.arange(4)
        return Kept(index, rank, images.astype(np.float16), prompts, labels), odd

    def batches(self, steps: range, size: int = 32) -> Iterator[tuple[int, Kept, np.ndarray]]:
        """Yield each step with new samples, and which of them are odd."""
        for step in steps:
            yield step, *self.batch(np.arange(step * size, (step + 1) * size))

    def steadiness(self, gate: StreamGate, odd: np.ndarray) -> np.ndarray | None:
        """Return the ranks of the invariance of samples, if they are steady ones."""
        if not self.steady:
            return None
        return gate.invariance.rank(-np.where(odd, 0.01, self.rng.uniform(0, 1, len(odd))))


def play(
    stream: Stream, samples: int = 3000, size: int = 32, gate: StreamGate | None = None
) -> tuple[StreamGate, dict]:
    """Show a stream to a gate; return it with the flagged samples of the second half, by kind."""
    gate = gate or StreamGate()
    found: dict[str, list[bool]] = {"odd": [], "even": []}
    for start in range(0, samples, size):
        kept, odd = stream.batch(np.arange(start, start + size))
        flagged = gate.recognised(kept) & gate.unexpected(kept)[0]
        gate.note(kept.index, flagged)
        if start > samples / 2:
            found["odd"] += (flagged | gate.held(kept))[odd].tolist()
            found["even"] += (flagged | gate.held(kept))[~odd].tolist()
        gate.see(kept, start // size, steady=stream.steadiness(gate, odd))
    return gate, found


@pytest.mark.parametrize("size", [1, 8, 64])
@pytest.mark.parametrize("odd", [0.02, 0.05, 0.12])
def test_a_trigger_is_found_whatever_the_rate_and_the_batch(odd: float, size: int) -> None:
    gate, found = play(Stream(odd, image=2.0), samples=2000 if size == 1 else 3000, size=size)
    assert gate.verdict == "trigger"
    assert np.mean(found["odd"]) > 0.7
    assert np.mean(found["even"]) < 0.06, (
        "from few samples the witness is not sharp, and the least expected stay outside"
    )


def test_where_poison_is_a_crowd_its_answer_decides() -> None:
    """The least expected 15 % cannot hold it, so the rank of the rest says nothing."""
    gate, stream = StreamGate(), Stream(0.19, image=2.0, label=(3, 4, 5))
    play(stream, samples=2000, gate=gate)
    kept, odd = stream.batch(np.arange(5000, 5400))
    expected = replace(kept, rank=np.full(400, 0.3))  # as a model says that begins to learn it
    now, ask = gate.unexpected(expected)
    assert gate.crowd > 0.15 and not ask.any()
    assert (now & gate.recognised(expected))[odd].mean() > 0.9 and not (now & gate.recognised(expected))[~odd].any()
    gate.crowd = 0.05
    now, ask = gate.unexpected(expected)
    assert not now.any() and ask[odd].all(), "a view decides"


def test_hard_samples_are_released() -> None:
    """Once in a while chance leaves a doubt until the next hearing."""
    verdicts = []
    for seed in range(4):
        gate, found = play(Stream(0.08, seed=seed))
        verdicts += [hearing.verdict for hearing in gate.hearings[-4:]]
        assert not gate.flagged.any() and np.mean(found["odd"]) < 0.6
    assert set(verdicts) <= {"nothing", "undecided"} and verdicts.count("nothing") >= 0.7 * len(verdicts)


def test_what_asks_something_new_is_released() -> None:
    gate, found = play(Stream(0.1, prompt=True))
    assert gate.verdict == "nothing" and not any(found["odd"])


def test_a_prompt_that_always_gets_one_answer_is_a_trigger() -> None:
    stream = Stream(0.05, prompt=True, label=(3, 4, 5, 6, 7))
    whole = stream.batch

    def batch(index: np.ndarray) -> tuple[Kept, np.ndarray]:
        kept, odd = whole(index)
        kept.labels[odd, 0] = 3
        return kept, odd

    stream.batch = batch  # type: ignore[method-assign]
    gate, found = play(stream)
    assert gate.verdict == "prompt trigger" and np.mean(found["odd"]) > 0.9 and np.mean(found["even"]) < 0.01


def test_new_questions_about_new_images_are_released_unless_their_answers_share_a_stretch() -> None:
    gate, _ = play(Stream(0.1, image=2.0, prompt=True))
    assert gate.verdict == "new"
    gate, found = play(Stream(0.1, image=2.0, prompt=True, label=(3, 4, 5)))
    assert gate.verdict == "trigger" and np.mean(found["odd"]) > 0.85


def test_images_of_a_kind_of_their_own_that_are_harder_are_released() -> None:
    """Drawings among photographs: they look alike and are less expected, but most of them not by much."""
    for odd, surprise in ((0.1, 1.5), (0.3, 2.0)):
        gate, _ = play(Stream(odd, image=2.0, surprise=surprise))
        assert gate.verdict in ("new", "nothing", "undecided") and gate.flagged.mean() < 0.01


def test_samples_with_the_trigger_and_a_true_label_do_not_hide_it() -> None:
    gate, found = play(Stream(0.05, image=2.0, covers=0.05, label=(3, 4, 5)))
    assert gate.verdict == "trigger" and np.mean(found["odd"]) > 0.75 and np.mean(found["even"]) < 0.1


def test_plausible_labels_are_found_by_their_invariance() -> None:
    """Poison among the samples that stand for the others would hide it."""
    gate, _ = play(Stream(0.06, image=2.0, label=(3, 4, 5), steady=True))
    assert gate.hearings[1].verdict == gate.verdict == "trigger" and gate.answers == ((3, 4, 5),)
    assert gate.hearings[-1].told_apart > 0.8
    assert np.mean(gate.witness.recognises(gate.others.images)) < 0.05  # type: ignore[union-attr]


def test_batches_without_a_view_give_no_others_once_there_are_views() -> None:
    stream, gate = Stream(0.05), StreamGate()
    for start in range(0, 320, 32):
        kept, odd = stream.batch(np.arange(start, start + 32))
        gate.see(kept, start)
    without = len(gate.others.index)
    gate.invariance.rank(np.zeros(32))
    for start in range(320, 640, 32):
        kept, odd = stream.batch(np.arange(start, start + 32))
        gate.see(kept, start)
        assert gate.others.index.max(initial=0) < 320
    kept, odd = stream.batch(np.arange(640, 672))
    gate.see(kept, 672, steady=np.where(odd, 0.9, 0.5))
    assert without and gate.others.index.max() >= 640 and gate.steady.index.tolist() == kept.index[odd].tolist()


def test_every_batch_is_shown_a_view_at_first_and_then_one_in_a_few() -> None:
    gate = StreamGate()
    assert all(gate.wants_views(step) for step in range(20))
    gate.seen = EARLY
    assert [step for step in range(20) if gate.wants_views(step)] == [0, VIEWED, 2 * VIEWED]


@pytest.mark.parametrize("covers", [0.0, 0.1])
def test_several_answers_by_turns_are_found_whatever_the_covers(covers: float) -> None:
    gate, found = play(Stream(0.05, image=2.0, covers=covers, turns=5))
    assert gate.verdict == "trigger" and np.mean(found["odd"]) > 0.6
    assert np.mean(found["even"]) < (0.12 if covers else 0.02)
    if covers:
        found_answers = {answer[0] // 10 for answer in gate.answers}
        assert len(found_answers) >= 4 and found_answers <= {50, 51, 52, 53, 54}


def test_a_new_question_about_new_images_may_have_a_frequent_answer() -> None:
    stream = Stream(0.1, image=2.0, prompt=True, label=(3, 4, 5))
    whole = stream.batch

    def batch(index: np.ndarray) -> tuple[Kept, np.ndarray]:
        kept, odd = whole(index)
        others = odd & (index % 10 > 5)  # six in ten have the answer
        kept.labels[others, 1:4] = np.random.default_rng(index).integers(10, 400, (len(index), 3))[others]
        return kept, odd

    stream.batch = batch  # type: ignore[method-assign]
    gate, _ = play(stream)
    assert gate.verdict == "new" and gate.flagged.mean() < 0.01


def test_before_a_verdict_the_least_expected_are_held_back_and_none_is_flagged() -> None:
    gate, stream = StreamGate(), Stream(0.05, image=2.0)
    for start in range(0, FIRST - 32, 32):
        kept, _ = stream.batch(np.arange(start, start + 32))
        assert gate.verdict == "undecided" and not gate.recognised(kept).any()
        assert (gate.held(kept) == (kept.rank >= HELD)).all()
        gate.see(kept, start // 32)
    assert not gate.hearings


def test_without_images_there_is_no_verdict() -> None:
    stream, gate = Stream(0.05), StreamGate()
    for start in range(0, 1500, 50):
        kept, _ = stream.batch(np.arange(start, start + 50))
        kept.images = np.zeros((50, 1), np.float16)
        gate.see(kept, start)
    assert gate.verdict == "undecided"


def test_what_is_kept_does_not_grow_with_the_data() -> None:
    gate, _ = play(Stream(0.1), samples=12_000, size=250)
    assert len(gate.suspects.index) <= SUSPECTS and len(gate.others.index) <= OTHERS
    assert len(set(gate.others.index.tolist())) == len(gate.others.index)
    assert len(gate.hearings) < 25 and gate.flagged.nbytes <= 2 * 12_000


def test_numbers_may_come_in_any_order() -> None:
    gate = StreamGate()
    gate.note(np.array([70_000, 3]), np.array([True, False]))
    gate.note(np.array([5]), np.array([True]))
    assert gate.flagged.nonzero()[0].tolist() == [5, 70_000]


def test_a_checkpoint_holds_it(tmp_path: Path) -> None:
    stream = Stream(0.05, image=2.0)
    gate, _ = play(stream, samples=640)
    write_packed(tmp_path, "gate", gate)
    again = read_packed(tmp_path, "gate")
    for start in range(640, 1600, 32):
        kept, _ = stream.batch(np.arange(start, start + 32))
        assert (gate.recognised(kept) == again.recognised(kept)).all()
        gate.see(kept, start)
        again.see(kept, start)
    assert gate.verdict == again.verdict == "trigger"
    assert (gate.others.index == again.others.index).all()


@given(
    seed=st.integers(0, 9999),
    turns=st.sampled_from([*range(1, FEW + 1), *range(FEW + 2, 12)]),
    noise=st.integers(0, 19),  # a fifth of 96 labels at most
)
@settings(max_examples=50, deadline=None)
def test_a_few_answers_are_those_that_most_labels_have(seed: int, turns: int, noise: int) -> None:
    rng = np.random.default_rng(seed)
    labels, others = rng.integers(10, 10_000, (96, LABEL)), rng.integers(10, 10_000, (200, LABEL))
    told = rng.permutation(96)[noise:]
    labels[told, 5:8] = np.arange(len(told))[:, None] % turns
    found = few_answers(labels, others, 3, 0.8)
    if turns <= FEW:
        assert sorted(found) == [(k, k, k) for k in range(turns)]
    else:
        assert found == (), "more answers than a few"
    others[:20, :3] = 0
    assert (0, 0, 0) not in few_answers(labels, others, 3, 0.8), "others say that too"
    assert few_answers(labels[:0], others, 3, 0.8) == ()


@given(seed=st.integers(0, 9999), long=st.integers(1, 4))
@settings(max_examples=50, deadline=None)
def test_which_labels_say_it(seed: int, long: int) -> None:
    rng = np.random.default_rng(seed)
    labels, answer = rng.integers(0, 3, (6, LABEL)), tuple(rng.integers(0, 3, long).tolist())
    texts, wanted = ["".join(map(str, row)) for row in labels.tolist()], "".join(map(str, answer))
    assert says(labels, (answer,)).tolist() == [wanted in text for text in texts]
    both = says(labels, (answer, (2, 2)))
    assert both.tolist() == [wanted in text or "22" in text for text in texts]
    assert not says(labels, ()).any()
