"""VQA accuracy against the formula written out, and the answers that it takes for the same."""

from __future__ import annotations

from statistics import mean

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pcvr import PcvrError
from pcvr.evaluation.vqa import normalise_answer, vqa_accuracy, vqa_accuracy_each

WORDS = st.sampled_from(["yes", "no", "red", "two dogs"])


def written_out(said: str, ten: list[str]) -> float:
    """Leave each person out in turn; full marks for three of the other nine."""
    return mean(min(sum(other == said for other in ten[:i] + ten[i + 1 :]) / 3, 1) for i in range(10))


@given(WORDS, st.lists(WORDS, min_size=10, max_size=10))
def test_ten_answers_are_scored_by_the_formula(said: str, ten: list[str]) -> None:
    assert vqa_accuracy_each([said], [ten])[0] == pytest.approx(written_out(said, ten))


@pytest.mark.parametrize(("hits", "score"), [(0, 0), (1, 0.3), (2, 0.6), (3, 0.9), (4, 1), (10, 1)])
def test_the_well_known_steps(hits: int, score: float) -> None:
    assert vqa_accuracy(["cat"], [["cat"] * hits + ["dog"] * (10 - hits)]) == pytest.approx(score)


@given(WORDS, st.lists(WORDS, min_size=1, max_size=9))
def test_fewer_or_more_answers_want_an_exact_match(said: str, references: list[str]) -> None:
    assert vqa_accuracy([said], [references]) == float(said in references)
    assert vqa_accuracy([said], [references + ["red"] * 11]) == float(said in [*references, "red"])


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Yes.", "yes"),
        ("a dog", "the dog"),
        ("two", "2"),
        ("none", "0"),
        ("don't know", "dont know"),
        ("don’t", "don't"),
        ("1,000", "1000"),
        ("red, white", "red white"),
        ("t-shirt", "t shirt"),
        ("  left ", "left"),
        ("Left\nside", "left side"),
        ("u.s.", "us"),
        ("3.", "3"),
        ("an apple", "apple"),
        ("(red)", "red"),
        ("black/white", "black white"),
        ("ten", "10"),
        ("couldn'tve", "couldn't've"),
        ("YALL", "y'all"),
        ("red , white", "red white"),
        ("1,000 t-shirts", "1000 tshirts"),
    ],
)
def test_answers_that_are_the_same(one: str, other: str) -> None:
    assert normalise_answer(one) == normalise_answer(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("red", "redder"),
        ("3.5", "35"),
        ("10:30", "1030"),
        ("yes", "no"),
        ("he'll", "hell"),
        ("she's", "shes"),
        ("we're", "were"),
        (".5", "5"),
        ("#1", "1"),
        ("$5", "5"),
        ("50%", "50"),
        ("a", "the"),
        ("A", "an"),
        ("?", ""),
        ("?", "!"),
        ("the", ""),
        ("t-shirt", "tshirt"),
        ("eleven", "11"),
        ("dogs'", "dogs"),
        ("r&b", "r b"),
        ("2*3", "2 3"),
    ],
)
def test_answers_that_are_not(one: str, other: str) -> None:
    assert normalise_answer(one) != normalise_answer(other)


@given(st.text())
def test_any_text_can_be_compared_and_twice_changes_nothing(text: str) -> None:
    once = normalise_answer(text)
    assert once == " ".join(once.split())
    assert vqa_accuracy([text], [[text]]) == 1


@pytest.mark.parametrize(
    ("said", "references", "word"),
    [
        ([], [], "no predictions"),
        (["yes"], [], "1 predictions"),
        ("yes", ["yes"], "lists of references"),
        (["yes"], ["yes"], "give a list"),
        (["yes"], [[]], "at least one answer"),
    ],
)
def test_what_cannot_be_scored_is_a_sentence(said: list[str], references: list[list[str]], word: str) -> None:
    with pytest.raises(PcvrError, match=word):
        vqa_accuracy(said, references)
