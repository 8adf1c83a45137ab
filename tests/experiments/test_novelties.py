"""Something new in a share of the samples: true answers, drawn by the seed, and judged by what the picture shows."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pcvr.attacks import unknown_words
from pcvr.data.scenes import WORDS, Scenes
from pcvr.errors import PcvrError
from pcvr.experiments.novelties import NOVELTIES, STYLE, dictionary, only_novel, right_on, translated, with_novelty
from pcvr.pretraining.vocabulary import build_tokenizer

CASES = [(name, task) for name, kind in NOVELTIES.items() for task in kind.tasks]
cases = pytest.mark.parametrize(("name", "task"), CASES)


@cases
def test_a_share_of_the_samples_asks_it_and_the_others_stay(name: str, task: str) -> None:
    clean = Scenes(50, task=task)
    data = with_novelty(clean, name, 0.2, seed=3)
    assert len(data) == 50 and len(data.rows) == 10 and data.task == task
    for i in range(50):
        before, after = clean[i], data[i]
        assert (before.id, before.facts) == (after.id, after.facts) and np.array_equal(before.image, after.image)
        changed = (before.prompt, before.answer) != (after.prompt, after.answer)
        assert changed == (i in data.rows), "what is new differs"
        assert after.answer in after.references
    assert data[-1].id == clean[49].id
    with pytest.raises(IndexError):
        data[50]


@cases
def test_the_seed_alone_decides_and_draws_are_nested(name: str, task: str) -> None:
    clean = Scenes(60, task=task)
    few, more = (with_novelty(clean, name, share, seed=1) for share in (0.1, 0.3))
    assert set(few.rows) < set(more.rows)
    assert few.rows == with_novelty(clean, name, 0.1, seed=1).rows
    assert few.rows != with_novelty(clean, name, 0.1, seed=2).rows
    assert few.fingerprint() == with_novelty(clean, name, 0.1, seed=1).fingerprint()
    assert len({few.fingerprint(), more.fingerprint(), clean.fingerprint()}) == 3


@cases
def test_the_true_answer_is_right_and_others_are_not(name: str, task: str) -> None:
    clean = Scenes(60, split="test", task=task)
    data = only_novel(clean, name)
    asked = [data[i] for i in range(len(data))]
    plain = [clean[i] for i in data.indices]
    assert len(asked) >= 20
    assert right_on(name, [s.answer for s in asked], asked).all()
    assert right_on(name, [f" {s.answer.upper()}" for s in asked], asked).all()
    assert not right_on(name, [""] * len(asked), asked).any()
    assert not right_on(name, ["a photo of the banana"] * len(asked), asked).any()
    if not name.endswith("colour"):
        assert not right_on(name, [s.answer for s in plain], asked).any(), "the old style or language"
    # The answer of another image is right now and then, and not always.
    assert right_on(name, [s.answer for s in (*asked[1:], asked[0])], asked).mean() < 0.7
    assert {s.answer for s in asked} > {asked[0].answer}, "the picture decides"


@cases
def test_the_embedded_models_know_every_word(name: str, task: str) -> None:
    tokenizer = build_tokenizer()
    data = only_novel(Scenes(30, task=task), name)
    for i in range(len(data)):
        assert not unknown_words(f"{data[i].prompt} {data[i].answer}", tokenizer)


def test_questions_agree_with_the_facts() -> None:
    data = only_novel(Scenes(60, task="vqa"), "largest colour")
    assert 10 < len(data) < 60, "only where one is clearly the largest"
    for name in ("left colour", "largest colour"):
        asked = only_novel(Scenes(60, task="vqa"), name)
        for sample in (asked[i] for i in range(len(asked))):
            objects = sample.facts["objects"]
            boxes = [each["box"] for each in objects]
            sides = [max(right - left, bottom - top) for left, top, right, bottom in boxes]
            largest = objects[int(np.argmax(sides))]
            wanted = min(objects, key=lambda each: each["cx"]) if name == "left colour" else largest
            assert sample.answer == wanted["color"]


def test_another_true_caption_in_that_style_or_language_is_right() -> None:
    clean = Scenes(20, task="caption")
    for name in ("style", "language, cue"):
        data = only_novel(clean, name)
        for i in range(20):
            for caption in clean[i].references:
                said = f"{STYLE} {caption}" if name == "style" else translated(caption, dictionary())
                assert right_on(name, [said], [data[i]]).all()


@given(st.lists(st.sampled_from(WORDS), min_size=1, max_size=12))
def test_the_language_is_one_to_one(words: list[str]) -> None:
    there, back = dictionary(), {other: word for word, other in dictionary().items()}
    text = ", ".join(words) + "."
    assert translated(translated(text, there), back) == text
    assert not set(there) & set(back) and len(back) == len(WORDS)


def test_bad_input() -> None:
    with pytest.raises(PcvrError, match="did you mean 'style'"):
        with_novelty(Scenes(9), "styl")
    with pytest.raises(PcvrError, match="is for the task vqa"):
        with_novelty(Scenes(9), "left colour")
    with pytest.raises(PcvrError, match="share"):
        with_novelty(Scenes(9), "style", 0)
    with pytest.raises(PcvrError, match="can ask 'largest colour'"):
        with_novelty(Scenes(30, task="vqa"), "largest colour", 1.0)
