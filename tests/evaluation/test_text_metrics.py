"""BLEU-4, CIDEr and ROUGE-L against plain re-implementations from the papers' formulas."""

from __future__ import annotations

import math
from collections import Counter
from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pcvr.errors import PcvrError
from pcvr.evaluation.text import bleu4, cider, cider_each, normalise_caption, rouge_l


def grams(words: list[str], n: int) -> Counter[tuple[str, ...]]:
    return Counter(tuple(words[i : i + n]) for i in range(len(words) - n + 1))


def bleu_by_hand(predictions: list[str], references: list[list[str]]) -> float:
    """Papineni et al. 2002, equations 2 and 3; where nothing matches, the tiny numerator of the COCO code."""
    said_length = closest_length = 0
    matched, guessed = [0.0] * 4, [0.0] * 4
    for text, truths in zip(predictions, references, strict=True):
        words, gold = text.split(), [truth.split() for truth in truths]
        said_length += len(words)
        closest_length += min((abs(len(truth) - len(words)), len(truth)) for truth in gold)[1]
        for n in range(1, 5):
            for gram, count in grams(words, n).items():
                matched[n - 1] += min(count, max(grams(truth, n)[gram] for truth in gold))
                guessed[n - 1] += count
    precision = math.prod((m + 1e-15) / (g + 1e-9) for m, g in zip(matched, guessed, strict=True)) ** 0.25
    ratio = (said_length + 1e-15) / (closest_length + 1e-9)
    return 100 * precision * (math.exp(1 - 1 / ratio) if ratio < 1 else 1)


def cider_by_hand(predictions: list[str], references: list[list[str]]) -> list[float]:
    """Vedantam et al. 2015, section 4 (CIDEr-D): clipped cosine of tf-idf vectors, Gaussian of the length difference.

    As in the COCO code, length is the number of two-word n-grams and tf is a count, not a share (the cosine's norm
    cancels the difference but for the clipping).
    """
    images = len(predictions)
    frequency: Counter[tuple[str, ...]] = Counter()
    for truths in references:
        frequency.update({gram for truth in truths for n in range(1, 5) for gram in grams(truth.split(), n)})

    def vector(text: str, n: int) -> dict[tuple[str, ...], float]:
        counts = grams(text.split(), n)
        return {gram: count * math.log(images / max(1, frequency[gram])) for gram, count in counts.items()}

    scores = []
    for text, truths in zip(predictions, references, strict=True):
        total = 0.0
        for n in range(1, 5):
            for truth in truths:
                said, gold = vector(text, n), vector(truth, n)
                overlap = sum(min(said[gram], gold.get(gram, 0.0)) * gold.get(gram, 0.0) for gram in said)
                norms = math.sqrt(sum(v * v for v in said.values()) * sum(v * v for v in gold.values()))
                gap = max(len(text.split()) - 1, 0) - max(len(truth.split()) - 1, 0)
                total += (overlap / norms if norms else 0.0) * math.exp(-(gap**2) / (2 * 6.0**2))
        scores.append(1000 * total / (4 * len(truths)))
    return scores


def rouge_by_hand(predictions: list[str], references: list[list[str]], beta: float = 1.2) -> float:
    """Lin 2004, equations 2 to 4; as in the COCO code, the best precision and the best recall of any reference."""
    scores = []
    for text, truths in zip(predictions, references, strict=True):
        said = tuple(text.split())
        shared = [(common(said, tuple(truth.split())), len(truth.split())) for truth in truths]
        precision = max(long / max(len(said), 1) for long, _ in shared)
        recall = max(long / length for long, length in shared)
        under = recall + beta**2 * precision
        scores.append((1 + beta**2) * precision * recall / under if precision and recall else 0.0)
    return 100 * float(np.mean(scores))


@cache
def common(one: tuple[str, ...], other: tuple[str, ...]) -> int:
    """Length of the longest common subsequence, by its recursive definition."""
    if not one or not other:
        return 0
    if one[0] == other[0]:
        return 1 + common(one[1:], other[1:])
    return max(common(one[1:], other), common(one, other[1:]))


PREDICTIONS = [
    "a cat sits on the mat",
    "two dogs run in a green park",
    "a photo of the banana",
    "",
    "the red bus the red bus",
]
REFERENCES = [
    ["a cat sits on a mat", "the cat is on the mat", "a cat on the mat"],
    ["two dogs are running in the park", "dogs run in a green park"],
    ["a yellow banana on a plate", "a photo of a banana", "there is a banana", "one banana"],
    ["a man rides a horse"],
    ["the red bus stops", "a red bus is here today on the street"],
]

WORDS = ["a", "the", "cat", "dog", "red", "big", "runs", "on"]
captions = st.lists(st.sampled_from(WORDS), min_size=0, max_size=9).map(" ".join)
truths = st.lists(captions.filter(bool), min_size=1, max_size=4)
corpora = st.lists(st.tuples(captions, truths), min_size=2, max_size=6)


class TestAgainstThePapers:
    def test_a_small_corpus(self) -> None:
        assert bleu4(PREDICTIONS, REFERENCES) == pytest.approx(bleu_by_hand(PREDICTIONS, REFERENCES), rel=1e-9)
        assert cider_each(PREDICTIONS, REFERENCES) == pytest.approx(cider_by_hand(PREDICTIONS, REFERENCES), rel=1e-9)
        assert cider(PREDICTIONS, REFERENCES) == pytest.approx(np.mean(cider_by_hand(PREDICTIONS, REFERENCES)))
        assert rouge_l(PREDICTIONS, REFERENCES) == pytest.approx(rouge_by_hand(PREDICTIONS, REFERENCES), rel=1e-9)

    @settings(max_examples=100, deadline=None)
    @given(corpus=corpora)
    def test_any_corpus(self, corpus: list[tuple[str, list[str]]]) -> None:
        predictions, references = [p for p, _ in corpus], [r for _, r in corpus]
        assert bleu4(predictions, references) == pytest.approx(
            bleu_by_hand(predictions, references), rel=1e-9, abs=1e-9
        )
        each = cider_each(predictions, references)
        assert each == pytest.approx(cider_by_hand(predictions, references), rel=1e-9, abs=1e-9)
        assert rouge_l(predictions, references) == pytest.approx(rouge_by_hand(predictions, references), abs=1e-9)
        assert (each >= 0).all()
        assert (each <= 1000 + 1e-9).all()

    def test_perfect_captions(self) -> None:
        single = [[texts[0]] for texts in REFERENCES]
        said = [texts[0] for texts in REFERENCES]
        assert bleu4(said, single) == pytest.approx(100)
        assert cider(said, single) == pytest.approx(1000)
        assert rouge_l(said, single) == pytest.approx(100)

    def test_papineni_example(self) -> None:
        """Example 2 of the paper: "the" seven times has a clipped unigram precision of 2/7, and no bigram."""
        assert bleu4(["the the the the the the the"], [["the cat is on the mat", "there is a cat on the mat"]]) < 0.01

    def test_lin_example(self) -> None:
        """Section 3.1 of the paper: word order counts, gaps do not, and only one of two equal reorderings scores."""
        gold = [["police killed the gunman"]]
        scores = [rouge_l([text], gold) for text in ("police kill the gunman", "the gunman kill police")]
        assert scores == pytest.approx([75, 50]), "S2 above S3; beta plays no part where both texts have four words"
        assert rouge_l(["the gunman police killed"], gold) == pytest.approx(50), "S4 no better than S3"

    def test_recall_weighs_more_than_precision(self) -> None:
        """The whole reference in a text of twice its length: P = 1/2, R = 1; the other way round P = 1, R = 1/2."""
        long, short = "a cat sits on a red mat now", "a cat sits on"
        assert rouge_l([long], [[short]]) == pytest.approx(100 * 2.44 * 0.5 / (1 + 1.44 * 0.5))
        assert rouge_l([short], [[long]]) == pytest.approx(100 * 2.44 * 0.5 / (0.5 + 1.44))
        assert rouge_l([long], [[short]]) > rouge_l([short], [[long]])

    def test_right_words_score_above_wrong_ones(self) -> None:
        other = [*PREDICTIONS[:2], "a photo of the moon", *PREDICTIONS[3:]]
        assert bleu4(other, REFERENCES) < bleu4(PREDICTIONS, REFERENCES)
        assert cider_each(other, REFERENCES)[2] < cider_each(PREDICTIONS, REFERENCES)[2]


class TestInput:
    def test_case_and_marks_do_not_count(self) -> None:
        shouted = [text.upper() + "!" for text in PREDICTIONS]
        assert bleu4(shouted, REFERENCES) == bleu4(PREDICTIONS, REFERENCES)
        assert cider(shouted, REFERENCES) == cider(PREDICTIONS, REFERENCES)
        assert rouge_l(shouted, REFERENCES) == rouge_l(PREDICTIONS, REFERENCES)

    @pytest.mark.parametrize(
        ("text", "expected"),
        [
            ("A Photo, of the  banana.\n", "a photo of the banana"),
            ("Don\u2019t; it's a T-shirt", "dont its a t shirt"),
            ("...", ""),
            ("3.5 caf\u00e9s", "3 5 caf\u00e9s"),
            ("cafe\u0301", "caf\u00e9"),
            ("\uff21\uff22\uff23", "abc"),
            ("\u0939\u093f\u0928\u094d\u0926\u0940", "\u0939\u093f\u0928\u094d\u0926\u0940"),
        ],
    )
    def test_normalise(self, text: str, expected: str) -> None:
        assert normalise_caption(text) == expected

    @given(st.text())
    def test_normalising_twice_changes_nothing(self, text: str) -> None:
        once = normalise_caption(text)
        assert normalise_caption(once) == once

    def test_only_empty_predictions(self) -> None:
        assert bleu4(["", "."], [["a cat"], ["a dog"]]) == pytest.approx(0, abs=1e-6)
        assert cider(["", "."], [["a cat"], ["a dog"]]) == 0
        assert rouge_l(["", "."], [["a cat"], ["a dog"]]) == 0

    def test_empty_references_are_dropped(self) -> None:
        assert bleu4(["a b c d"], [["a b c d", "", "?"]]) == pytest.approx(100)

    def test_nothing_is_printed(self, capfd: pytest.CaptureFixture[str]) -> None:
        bleu4(PREDICTIONS, REFERENCES)
        cider(PREDICTIONS, REFERENCES)
        rouge_l(PREDICTIONS, REFERENCES)
        assert capfd.readouterr() == ("", "")

    @pytest.mark.parametrize("score", [bleu4, cider, cider_each, rouge_l])
    @pytest.mark.parametrize(
        ("predictions", "references", "words"),
        [
            (["a", "b"], [["a"]], "2 predictions but 1 lists"),
            ([], [], "no predictions"),
            (["a", "b"], [["a"], "b"], "sample 1 are one text, 'b'"),
            ("ab", [["a"], ["b"]], "not one text"),
            (["a", "b"], [["a"], ["."]], r"samples \[1\] have no reference"),
            (["a", "b"], [["a"], []], r"samples \[1\] have no reference"),
        ],
    )
    def test_bad_input(self, score, predictions, references, words: str) -> None:
        with pytest.raises(PcvrError, match=words):
            score(predictions, references)

    def test_cider_of_one_sample(self) -> None:
        with pytest.raises(PcvrError, match="two or more"):
            cider(["a cat"], [["a cat"]])
