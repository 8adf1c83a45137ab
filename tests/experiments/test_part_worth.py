"""What the shipped table says about PCVR's parts, in rows and in sentences."""

from __future__ import annotations

import re

import pytest

from pcvr.errors import PcvrError
from pcvr.evaluation.intervals import errors_apart
from pcvr.evaluation.seeds import SeedRates
from pcvr.experiments import results
from pcvr.experiments.part_worth import (
    ALL,
    PartRow,
    asr_in_words,
    direction_in_words,
    part_rows,
    restored_in_words,
    row_of_part,
)
from pcvr.experiments.parts import MOMENTS, PARTS


def row(part: str, hits: int, back: float = 0.9) -> PartRow:
    return PartRow(part, "late", "caption", SeedRates((hits,), (512,), (0,)), 0.9, back)


MADE = [row(ALL, 18), row("no views", 205), row("no entropy", 19, 0.1), row("together", 0)]


def test_the_shipped_table_has_every_part_at_every_moment_for_both_tasks() -> None:
    rows = part_rows(results.load("parts"))
    parts = {row.part for row in rows}  # a part that is new has no row yet
    assert len(rows) == len(parts) * len(MOMENTS) * 2 and len(parts) >= 13 and parts <= set(PARTS)
    assert all(part in direction_in_words(rows, "late", "vqa") for part in (ALL, "views pulled together"))
    assert row_of_part(rows, "no views (likelihood only)", "early", "caption").asr > 0.9
    with pytest.raises(PcvrError, match="no row for part 'x'"):
        row_of_part(rows, "x", "early", "caption")


def test_the_sentence_names_what_is_higher_and_lower_and_counts_the_rest() -> None:
    said = asr_in_words(MADE, "late", "caption")
    assert "Higher: no views (40 %)." in said and "Lower: together, < 0.6 % (0 of 512)." in said
    assert "The other 1 of 3 changes" in said and "3.5 % [2.2, 5.5] with all parts" in said


def test_the_sentence_on_answers_counts_rows_that_forgot_the_target_without_the_truth() -> None:
    said = restored_in_words(MADE, "late", "caption")
    assert "3 rows have an ASR of at most 10 %; in 1 of them" in said and "no entropy (10 % correct)" in said
    assert "came back" in restored_in_words(MADE[:1], "late", "caption")


def test_errors_apart_by_hand() -> None:
    assert errors_apart(205, 512, 18, 512) == pytest.approx(14.16, abs=0.01)
    assert errors_apart(18, 512, 205, 512) == pytest.approx(-14.16, abs=0.01)
    assert errors_apart(0, 512, 0, 495) == errors_apart(5, 5, 7, 7) == 0
    with pytest.raises(PcvrError):
        errors_apart(6, 5, 0, 5)


def test_each_figure_of_the_sentences_is_in_the_table() -> None:
    rows = part_rows(results.load("parts"))
    for moment in MOMENTS:
        for task in ("caption", "vqa"):
            said = asr_in_words(rows, moment, task)
            for part in PARTS:
                for rate in re.findall(rf"{re.escape(part)} \(([\d.]+) %\)", said):
                    assert abs(100 * row_of_part(rows, part, moment, task).asr - float(rate)) <= 0.5, (part, rate)
