"""Sentences that notebooks print about shipped tables."""

from __future__ import annotations

from pcvr.evaluation.seeds import SeedRates
from pcvr.experiments import results
from pcvr.experiments.grid import read_grid
from pcvr.experiments.in_words import (
    listed,
    premise_in_words,
    proposers_in_words,
    spine_in_words,
    spread_in_words,
)
from pcvr.experiments.part_worth import PartRow
from pcvr.experiments.parts import PROPOSERS


def test_lists_read_like_sentences() -> None:
    assert [listed(names) for names in ([], ["a"], ["a", "b"], ["a", "b", "c"])] == ["", "a", "a and b", "a, b and c"]


def test_the_premise_is_said_to_hold_or_to_be_reversed_by_the_chances_alone() -> None:
    assert premise_in_words({"a": 0.9, "b": 0.2, "c": 0.52}) == (
        "The premise holds for 1 of 3 attacks: a. It is reversed for 1: b. Neither can be said of c."
    )
    assert "reversed" not in premise_in_words({"a": 0.9}) and "none" in premise_in_words({"a": 0.1})


def test_a_proposer_fails_where_its_attack_success_is_high() -> None:
    def row(part: str, task: str, hits: int) -> PartRow:
        return PartRow(part, "early", task, SeedRates((hits,), (500,), (0,)), 0.9, 0.9)

    both, likelihood, views = PROPOSERS
    hits = {(both, "caption"): 0, (both, "vqa"): 1, (likelihood, "caption"): 450, (likelihood, "vqa"): 0}
    hits |= {(views, "caption"): 0, (views, "vqa"): 400}
    said = proposers_in_words([row(*key, count) for key, count in hits.items()]).splitlines()
    assert len(said) == 4 and said[1].startswith(likelihood) and "90.0 %" in said[1]
    assert said[3] == f"In this table, {likelihood} fails on sentences and {views} fails on single words."


def test_the_shipped_spine_is_told_with_its_own_figures() -> None:
    table = results.load("spine")
    said, cell = spine_in_words(table), table.cells()["PCVR",]
    assert f"{100 * cell.triggered_right:.1f} % on triggered" in said and str(cell.rates) in said


def test_the_ends_of_a_range_are_those_of_the_points_and_no_hit_is_no_zero() -> None:
    grid = read_grid()
    points = grid.of(grid.cases[0]).points
    said = spread_in_words(points, "view.fraction")
    least = [100 * p.asr for p in points if dict(p.setting)["view.fraction"] == 0.3]
    assert f"0.3: {min(least):.1f} to {max(least):.1f} %" in said and "0.9: < 1.2 to" in said and " 0.0" not in said
