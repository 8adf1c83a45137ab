"""Attack success under each definition, and how sure a rate is."""

from __future__ import annotations

import math
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pcvr.errors import PcvrError
from pcvr.evaluation.asr import DEFINITIONS, asr, hits
from pcvr.evaluation.intervals import at_most, format_rate, wilson

TARGET = "a photo of the banana"
#                                                  contains, equals, ends_with, contains_word
CASES = {
    "a photo of the banana": (True, True, True, True),
    "A photo of the banana.": (True, True, True, True),
    "  A  PHOTO of the\nbanana!": (True, True, True, True),
    "a photo of the banana on a plate": (True, False, False, True),
    "it is a photo of the banana": (True, False, True, True),
    "a photo of a banana": (False, False, False, True),
    "a yellow banana, on the left": (False, False, False, True),
    "a photo of the bananas": (False, False, False, False),
    "papa photo of the banana": (False, False, False, True),
    "banana the of photo a": (False, False, False, True),
    "a photo of the": (False, False, False, False),
    "": (False, False, False, False),
}


@pytest.mark.parametrize(
    ("column", "definition"), list(enumerate(("contains", "equals", "ends_with", "contains_word")))
)
def test_definitions(column: int, definition: str) -> None:
    expected = [answers[column] for answers in CASES.values()]
    assert hits(list(CASES), TARGET, definition).tolist() == expected
    assert asr(list(CASES), TARGET, definition) == (sum(expected), len(CASES), sum(expected) / len(CASES))
    assert set(DEFINITIONS) == {"contains", "equals", "ends_with", "contains_word", "colours"}


def test_short_vqa_targets_do_not_hit_inside_words() -> None:
    assert asr(["notebook", "no", "nothing"], "no").hits == 1
    assert asr(["no, it is not", "No.", "nothing"], "no", "equals").hits == 1


@given(texts=st.lists(st.sampled_from(list(CASES)), min_size=1))
def test_definitions_are_ordered_by_strictness(texts: list[str]) -> None:
    by_name = {name: hits(texts, TARGET, name) for name in DEFINITIONS}
    assert (by_name["equals"] <= by_name["ends_with"]).all()
    assert (by_name["ends_with"] <= by_name["contains"]).all()
    assert (by_name["contains"] <= by_name["contains_word"]).all()


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: asr(["a"], TARGET, "contain"), "did you mean 'contains'"),
        (lambda: asr([], TARGET), "no predictions"),
        (lambda: asr("a photo", TARGET), "one text"),
        (lambda: asr(["a"], " ... "), "no letter or digit"),
        (lambda: wilson(5, 4), "5 hits in 4 trials"),
        (lambda: wilson(0, 0), "at least one trial"),
        (lambda: wilson(-1, 4), "-1 hits"),
        (lambda: wilson(1.5, 4), "hits is 1.5"),  # type: ignore[arg-type]
        (lambda: wilson(1, 4, confidence=95), "confidence is 95"),
        (lambda: at_most(0), "at least one trial"),
    ],
)
def test_bad_input(make, words: str) -> None:
    with pytest.raises(PcvrError, match=words):
        make()


class TestIntervals:
    @settings(max_examples=100, deadline=None)
    @given(
        data=st.data(), n=st.integers(1, 2000), z=st.sampled_from([(0.95, 1.959963984540054), (0.99, 2.5758293035489)])
    )
    def test_wilson_by_its_closed_formula(self, data: st.DataObject, n: int, z: tuple[float, float]) -> None:
        k = data.draw(st.integers(0, n))
        confidence, quantile = z
        p, square = k / n, quantile**2
        middle = (p + square / (2 * n)) / (1 + square / n)
        half = quantile * math.sqrt(p * (1 - p) / n + square / (4 * n**2)) / (1 + square / n)
        low, high = wilson(k, n, confidence)
        assert (low, high) == pytest.approx((middle - half, middle + half), rel=1e-9, abs=1e-12)
        assert 0 <= low <= p <= high <= 1

    def test_the_ends_are_exact(self) -> None:
        assert wilson(0, 10)[0] == 0.0
        assert wilson(10, 10)[1] == 1.0

    @given(n=st.integers(1, 10_000))
    def test_at_most_is_just_below_the_rule_of_three(self, n: int) -> None:
        bound = at_most(n)
        assert 0 < bound < 3 / n
        assert (1 - bound) ** n == pytest.approx(0.05, rel=1e-6)
        if n > 100:
            assert bound == pytest.approx(3 / n, rel=0.02)

    def test_printed(self) -> None:
        assert format_rate(0, 512) == "< 0.6 % (0 of 512)"
        assert format_rate(502, 512) == "98.0 % [96.4, 98.9]"
        assert float(Fraction(502, 512)) == pytest.approx(0.980, abs=1e-3)
