"""What the notebooks say about shipped tables in words of their own is true of these tables.

Sentences with figures are printed by the notebooks from the tables themselves (`pcvr.experiments.in_words`). The ones
here name an order or a cause instead. Each must stand in its source as it is quoted here, and its test must hold.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from pcvr.experiments import results
from pcvr.experiments.ablations import ABLATIONS, cell_of
from pcvr.experiments.grid import read_grid
from pcvr.experiments.histograms import chance_of_lower, histograms_of
from pcvr.experiments.part_worth import BEYOND, compared, part_rows, row_of_part
from pcvr.experiments.parts import PROPOSERS
from pcvr.experiments.watched import shipped_watch

WORKBOOK = Path(__file__).resolve().parents[2] / "workbook"
ROWS = part_rows(results.load("parts"))
GLOBAL = {"blended", "sig", "wanet", "ftrojan"}


def only_the_proposers_matter_early() -> bool:
    others = [
        apart
        for task in ("caption", "vqa")
        for row, apart in compared(ROWS, "early", task)
        if row.part not in PROPOSERS
    ]
    return len(others) >= 20 and max(map(abs, others)) < BEYOND


def leaving_out_is_enough_early() -> bool:
    terms = ("no pull-apart", "no features", "no entropy constraint", "no anchor")
    return all(row_of_part(ROWS, part, "early", task).asr < 0.01 for part in terms for task in ("caption", "vqa"))


def reversed_for_global_triggers() -> bool:
    found = histograms_of(results.load("distributions"), "caption", "divergence")
    chances = {
        name: chance_of_lower(c["undefended"]["triggered"], c["undefended"]["clean"]) for name, c in found.items()
    }
    low = {name for name, chance in chances.items() if chance < 0.45}
    return low <= GLOBAL and len(low) > len(GLOBAL) / 2


def late_scan_needs_the_push() -> bool:
    table = results.load("spine")
    push, none = (cell_of(table, ABLATIONS[name]) for name in ("late", "late, apart"))
    return push is not None and none is not None and push.asr < 0.1 and none.asr > 0.9


def small_fraction_decides() -> bool:
    (case,) = read_grid().cases
    early = [
        (dict(p.setting), p.asr, p.gate[0]["recall"])
        for p in read_grid().of(case).points
        if dict(p.setting)["scan_at"] < 0.1
    ]
    least = min(s["view.fraction"] for s, _, _ in early)
    small = {s["apart_weight"]: asr for s, asr, _ in early if s["view.fraction"] == least and s["entropy_weight"] > 0}
    misses = [recall for s, _, recall in early if s["view.fraction"] == least]
    others = [asr for s, asr, _ in early if s["view.fraction"] > least]
    return small[0] > 0.8 > 0.1 > small[16] and max(others) < 0.01 and max(misses) < 0.6


CLAIMS: list[tuple[str, str, Callable[[], bool]]] = [
    ("05_pcvr", "leaving the flagged samples out does most of the work", leaving_out_is_enough_early),
    (
        "05_pcvr",
        "ends at step `stop`, when an undefended backdoor has formed",
        lambda: next(p.asr for p in shipped_watch("badnets", "tiny-llava", "caption", 0.05) if p.step == 175) > 0.9,
    ),
    (
        "05_pcvr",
        "measured on 64 images every 25 steps",
        lambda: (
            [(p.step, p.n) for p in shipped_watch("badnets", "tiny-llava", "caption", 0.05)][:3]
            == [(0, 64), (25, 64), (50, 64)]
        ),
    ),
    (
        "05_pcvr",
        "No attack is new to the defaults",
        lambda: any("no attack and no answer counts as held out" in note for note in results.load("parts").notes),
    ),
    ("05b_the_terms", "nothing contradicts what the model has learned", late_scan_needs_the_push),
    ("05b_the_terms", "Each row was tested on about 500 images", lambda: all(490 < r.rates.n[0] < 520 for r in ROWS)),
    ("05b_the_terms", "**Early**, only the proposers matter", only_the_proposers_matter_early),
    ("06b_many_images", "it is reversed for most global triggers", reversed_for_global_triggers),
    ("07_explorer", "With the smallest one it misses half of the poison at an early scan", small_fraction_decides),
]
"""Stem of the source, words of it, and whether the tables say so."""


def plain(stem: str) -> str:
    """The text of a source without comment marks and line breaks."""
    text = (WORKBOOK / f"{stem}.py").read_text(encoding="utf-8")
    return re.sub(r"\s+", " ", re.sub(r"^# ?", "", text, flags=re.MULTILINE))


@pytest.mark.parametrize(
    ("stem", "words", "true"), CLAIMS, ids=[f"{stem[:3]}: {words[:40]}" for stem, words, _ in CLAIMS]
)
def test_a_claim_stands_there_and_the_tables_say_so(stem: str, words: str, true: Callable[[], bool]) -> None:
    assert words in plain(stem), "reworded? then say here what it claims now"
    assert true(), "the table says otherwise"
