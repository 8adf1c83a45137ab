"""Where each defence stands: the worst attack that took, the paired loss of answers, time, and what is missing."""

from __future__ import annotations

import pytest

from pcvr import PcvrError
from pcvr.evaluation.seeds import SeedRates
from pcvr.experiments.standings import beats, duels, main_sheet, progress, standings, unbeaten
from pcvr.experiments.whole_study import main_table, rows, shipped
from tests.standings import empty, full, made, partly, rows_of, store_of


def test_a_full_table() -> None:
    found = {row.row: row for row in rows_of(full())}
    assert found.keys() == rows().keys() and all(row.whole for row in found.values())
    ours, plain, purified = found["pcvr"], found["none"], found["ortho_purify"]
    assert ours.worst is not None and ours.dearest is not None and ours.worst.rates is not None
    assert ours.worst.rates.mean == 0 and ours.dearest.loss == 0 and ours.time == 1.5
    assert plain.time == 1 and plain.dearest is not None and plain.dearest.kept[0].interval == (0.0, 0.0)
    assert purified.dearest is not None and purified.dearest.loss == pytest.approx(0.3, abs=0.01)
    (pair,) = purified.dearest.kept
    assert pair.interval[0] < pair.difference < pair.interval[1] < 0
    assert "wanet" not in {each.attack for each in ours.counted} and len(ours.counted) == 5
    assert (ours.origin, found["bye"].origin, ours.answer_time) == ("ours", "its paper", 1.0)


def test_what_no_other_beats() -> None:
    assert [row.row for row in unbeaten(rows_of(full()))] == ["pcvr", "ortho_purify"]
    assert unbeaten(rows_of(partly())) == [] == unbeaten(rows_of(empty()))


def test_beats() -> None:
    assert beats((0, 1, 1), (0, 1, 2)) and not beats((0, 1, 1), (0, 1, 1)) and not beats((0, 2, 1), (1, 1, 1))


def test_a_table_that_is_partly_run_and_one_that_is_not() -> None:
    found = {row.row: row for row in rows_of(partly())}
    assert not found["pcvr"].whole and len(found["pcvr"].counted) == 2 and found["pcvr"].measures is None
    assert found["tcap"].worst is None and found["tcap"].dearest is None and found["tcap"].time is None
    assert all(row.worst is None for row in rows_of(empty()))


def test_without_undefended_runs_nothing_counts() -> None:
    cells = [cell for cell in main_table() if cell.label == "pcvr" and cell.rate]
    (ours,) = [row for row in rows_of(store_of(map(made, cells))) if row.row == "pcvr"]
    assert ours.counted == [] and all(each.rates is not None and each.took is None for each in ours.outcomes)
    assert all(each.kept == () and each.time is None for each in ours.outcomes)


def test_duels() -> None:
    sheet = main_sheet("vqa", full())
    found = {duel.other: duel for duel in duels(sheet)}
    assert found["none"].lower == ("badnets", "blended", "sig", "ftrojan", "dual_key") and not found["none"].higher
    assert str(found["none"]) == "against none: lower under badnets, blended, sig, ftrojan, dual_key"
    back = {duel.other: duel for duel in duels(sheet, "ortho_purify")}
    assert len(back["pcvr"].higher) == 5 and len(back["bye"].lower) == 5
    equal = {duel.other: duel for duel in duels(sheet, "tcap")}
    assert len(equal["racer"].open) == 5 and "undecided under" in str(equal["racer"])
    assert duels(main_sheet("vqa", empty())) == []
    with pytest.raises(PcvrError, match="unknown row 'no'"):
        duels(sheet, "no")


def test_seeds_are_kept_apart() -> None:
    rates = SeedRates((0, 10), (512, 512), (0, 1))
    assert len(rates.wilson) == 2 and rates.wilson[0][1] < 3 / 512


def test_progress() -> None:
    assert progress(main_sheet("caption", full())).endswith("without a defence: 5 took, 1 did not take.")
    said = progress(main_sheet("caption", empty()))
    assert said.startswith("0 of ") and "for each defence" in said and said.endswith("6 not run.")
    with pytest.raises(PcvrError, match="unknown task 'captions'"):
        main_sheet("captions")


def test_the_shipped_store() -> None:
    for task in ("caption", "vqa"):
        sheet = main_sheet(task, shipped())
        assert len(standings(sheet)) == len(sheet.rows) == len(rows()) and progress(sheet)


def test_a_tuned_row_stands_below_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "pcvr.experiments.whole_study.settings",
        lambda: {"options": {"bye": {"apart": 1.0}, "tcap": {"max_overlap": 1.0}}},
    )
    names = [row.row for row in rows_of(empty())]
    assert names[names.index("bye") + 1] == "bye, tuned" and "tcap, tuned" not in names
    assert next(row for row in rows_of(empty()) if row.row == "bye, tuned").origin == "tuned"
