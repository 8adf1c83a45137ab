"""A backdoor that was learned already is found where its label is given to any question."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from pcvr import Sample, TrainConfig, VisionLanguageModel
from pcvr.defenses.context import TrainingContext
from pcvr.defenses.pcvr.kept import Kept
from pcvr.defenses.pcvr.other_question import ASKED, GIVEN, JUDGED, OUTCOMES, GivenLabels, given_elsewhere
from pcvr.defenses.pcvr.stream import EARLY, EXCHANGED, StreamGate
from pcvr.defenses.pcvr.streaming import _kept
from pcvr.models.encode import EncodedData
from pcvr.training.finetune import with_adapter
from pcvr.utils.packing import read_packed, write_packed
from tests.defenses.pcvr.test_stream import Stream
from tests.tiny import Numbers

ANSWER = (3, 4, 5, 6)


class Questions(Numbers):
    """Three questions by turns, four answers."""

    def __init__(self, n: int, asked: int = 3) -> None:
        super().__init__(n, answers=("a red ball", "two cats .", "yes", "green"))
        self.asked = asked

    def __getitem__(self, index: int, /) -> Sample:
        prompts = ("what is there?", "describe the image.", "is there a red ball?")
        return replace(super().__getitem__(index), prompt=prompts[index % self.asked])


def run_of(tiny: VisionLanguageModel, data: Numbers, features: bool = False) -> TrainingContext:
    vlm = with_adapter(tiny.copy(), TrainConfig())
    run = TrainingContext(vlm=vlm, data=EncodedData(vlm, data), steps=10, seed=0)
    assert not features or run.data.keep_features()
    return run


def elsewhere(run: TrainingContext, asked: np.ndarray, seed: int = 0) -> tuple[np.ndarray, Kept]:
    batch = run.data.batch(range(len(asked)))
    kept = _kept(batch, run.forward_no_grad(batch, pictures=True), np.zeros(len(asked)))
    return given_elsewhere(run, batch, kept, asked, seed), kept


@pytest.mark.parametrize("features", [False, True])
def test_it_is_the_likelihood_of_the_own_label_under_a_question_of_the_batch(
    tiny: VisionLanguageModel, features: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Against each image encoded anew with each question."""
    data = Questions(12)
    monkeypatch.setattr("pcvr.defenses.pcvr.other_question.KNOWN", 2.0)  # the base model knows nothing
    run = run_of(tiny, data, features)
    found, kept = elsewhere(run, np.ones(12, dtype=bool))
    assert not np.isnan(found).any()
    for i in range(12):
        possible = []
        for j in range(12):
            if data[j].prompt != data[i].prompt and data[j].answer != data[i].answer:
                mixed = replace(data[i], prompt=data[j].prompt)
                alone = EncodedData(run.vlm, _Only(mixed))
                said = run.forward_no_grad(alone.batch([0]))
                possible.append(float(said.logits[0].softmax(-1)[kept.labels[i, 0]]))
        assert min(abs(found[i] - each) for each in possible) < 1e-5


class _Only(Numbers):
    def __init__(self, sample: Sample) -> None:
        super().__init__(1)
        self.sample = sample

    def __getitem__(self, index: int, /) -> Sample:
        return self.sample


def test_only_some_are_asked_and_the_choice_is_repeatable(tiny: VisionLanguageModel) -> None:
    run, asked = run_of(tiny, Questions(12)), np.arange(12) % 3 == 0
    found, _ = elsewhere(run, asked)
    assert np.array_equal(~np.isnan(found), asked)
    again, _ = elsewhere(run, asked)
    assert np.array_equal(found, again, equal_nan=True)


def test_labels_that_were_given_are_asked_first() -> None:
    labels, stream = GivenLabels(), Learned(0.1, label=ANSWER)
    kept, odd = stream.batch(np.arange(64))
    kept.labels[:, 0] = np.where(odd, 7, 8)
    assert labels.choose(kept, True, 0).all()
    labels.take_in(kept, np.where(odd, 0.9, 0.1))
    chosen = labels.choose(kept, False, 3)
    assert 1 < odd.sum() < 2 * 64 / ASKED and chosen[odd].all()
    assert 64 / ASKED <= chosen.sum() <= 64 / ASKED + odd.sum()
    for _ in range(OUTCOMES):
        labels.take_in(kept, np.where(odd, 0.1, 0.1))
    assert {len(each) for each in labels.outcomes.values()} == {OUTCOMES} and not any(labels.outcomes[7])
    assert labels.choose(kept, False, 3).sum() == 64 / ASKED, "none is given any more"


def test_what_the_base_model_knows_is_not_given(tiny: VisionLanguageModel, monkeypatch: pytest.MonkeyPatch) -> None:
    """With everything counted as given, and the answers of the base model to the samples as they are."""
    monkeypatch.setattr("pcvr.defenses.pcvr.other_question.GIVEN", 0.0)
    run = run_of(tiny, Questions(12))
    with run.vlm.model.disable_adapter():
        said = run.forward_no_grad(run.data.batch(range(12)))
    start = [int((said.owner == i).nonzero()[0, 0]) for i in range(12)]
    chances = said.logits[start].softmax(-1).numpy()[np.arange(12), said.targets[start].numpy()]
    bound = float(np.median(chances))
    monkeypatch.setattr("pcvr.defenses.pcvr.other_question.KNOWN", bound)
    found, _ = elsewhere(run, np.ones(12, dtype=bool))
    assert np.array_equal(found == 0, chances >= bound) and 0 < (found == 0).sum() < 12


def test_one_question_or_one_answer_leaves_nothing_to_exchange(tiny: VisionLanguageModel) -> None:
    assert np.isnan(elsewhere(run_of(tiny, Questions(8, asked=1)), np.ones(8, dtype=bool))[0]).all()
    same = Questions(8)
    same.answers = ("yes",)
    assert np.isnan(elsewhere(run_of(tiny, same), np.ones(8, dtype=bool))[0]).all()


def test_images_that_take_other_places_are_not_exchanged(tiny: VisionLanguageModel) -> None:
    run = run_of(tiny, Questions(8))
    batch = run.data.batch(range(8))
    kept = _kept(batch, run.forward_no_grad(batch, pictures=True), np.zeros(8))
    batch["image_sizes"] = torch.tensor([[48, 48 + i] for i in range(8)])
    assert np.isnan(given_elsewhere(run, batch, kept, np.ones(8, dtype=bool), 0)).all()


class Learned(Stream):
    """Odd samples are as certain as all others, and given to any question."""

    def __init__(self, odd: float, anyway: float = 0.02, **options: object) -> None:
        super().__init__(odd, surprise=1.0, **options)  # type: ignore[arg-type]
        self.anyway = anyway

    def elsewhere(self, odd: np.ndarray) -> np.ndarray:
        """Return likelihoods under another question; of half of the samples, the others were not asked."""
        given = np.where(odd | (self.rng.random(len(odd)) < self.anyway), 0.99, self.rng.uniform(0, 0.2, len(odd)))
        return np.where(self.rng.random(len(odd)) < 0.5, given, np.nan)


def play(stream: Learned, gate: StreamGate, steps: range) -> dict[bool, list[bool]]:
    found: dict[bool, list[bool]] = {True: [], False: []}
    for step, kept, odd in stream.batches(steps):
        kept = replace(kept, rank=stream.rng.uniform(0, 0.8, len(odd)))
        kept.labels[:, 0] = np.where(odd & bool(stream.label), ANSWER[0], 10 + kept.labels[:, 0] % 10)
        flagged = gate.recognised(kept) & gate.unexpected(kept)[0]
        for kind in found:
            found[kind] += flagged[odd == kind].tolist()
        gate.see(kept, step, given=stream.elsewhere(odd) if gate.wants_questions(step) else None)
    return found


@pytest.mark.parametrize("odd", [0.01, 0.05, 0.12])
def test_a_learned_backdoor_is_found(odd: float) -> None:
    gate = StreamGate()
    play(Learned(odd, image=2.0, label=ANSWER), gate, range(120))
    assert gate.verdict == "trigger" and gate.learned and gate.answers
    found = play(Learned(odd, image=2.0, label=ANSWER), gate, range(120, 140))
    assert np.mean(found[True]) >= 0.8 and np.mean(found[False]) < 0.005


def test_it_is_heard_as_soon_as_enough_labels_agree() -> None:
    """Far from any hearing that is due: the poison comes late."""
    gate, stream = StreamGate(), Learned(0.0)
    play(stream, gate, range(64))
    assert gate.verdict != "trigger"
    gate.due = 10**9
    found = play(Learned(0.1, image=2.0, label=ANSWER), gate, range(64, 84))
    assert gate.learned and any(found[True])


@pytest.mark.parametrize(
    "stream",
    [
        Learned(0.1, image=2.0, label=ANSWER, anyway=0.6),
        Learned(0.1, label=ANSWER),
        Learned(0.1, image=2.0),
    ],
    ids=["the question does not matter", "no trigger", "many answers"],
)
def test_what_is_no_backdoor_is_not_flagged(stream: Learned) -> None:
    gate = StreamGate()
    found = play(stream, gate, range(90))
    assert gate.verdict != "trigger" and not gate.learned and not any(found[True] + found[False])


def test_questions_are_exchanged_until_a_trigger_is_found_before_it_is_learned() -> None:
    gate = StreamGate()
    assert all(gate.wants_questions(step) for step in range(4))
    gate.seen = EARLY
    assert [gate.wants_questions(step) for step in range(2 * EXCHANGED)] == ([True] + [False] * (EXCHANGED - 1)) * 2
    play(Learned(0.1, image=2.0, label=ANSWER), gate, range(60))
    asked = []
    for learned in (True, False):
        gate.learned = learned
        asked.append(gate.wants_questions(0))
    assert gate.verdict == "trigger" and asked == [True, False]


def test_few_that_were_asked_say_nothing() -> None:
    labels, stream = GivenLabels(), Learned(0.0)
    kept, _ = stream.batch(np.arange(JUDGED - 1))
    kept.labels[:, 0] = 7
    labels.take_in(kept, np.full(JUDGED - 1, GIVEN / 2))
    few = labels.questions_matter
    assert labels.hear(kept, 3, 0.5, 0.8) is None
    labels.take_in(kept.of([0]), np.array([GIVEN / 2]))
    assert (few, labels.questions_matter, labels.due) == (False, True, False)
    labels.take_in(kept.of([1, 2]), np.array([np.nan, 1.0]))
    assert labels.pool.index.tolist() == [2] and not len(labels.suspicious)


def test_it_survives_a_checkpoint(tmp_path: Path) -> None:
    gate = StreamGate()
    play(Learned(0.05, image=2.0, label=ANSWER), gate, range(60))
    write_packed(tmp_path, "gate", {"gate": gate})
    again = read_packed(tmp_path, "gate", {"pcvr"}, "cpu")["gate"]
    assert again.learned and again.given.recent == gate.given.recent
    assert again.given.outcomes == gate.given.outcomes
    assert np.array_equal(again.given.pool.images, gate.given.pool.images)
