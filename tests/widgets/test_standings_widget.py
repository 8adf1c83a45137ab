"""The league table: filters by access, settings and attack, and honest cells."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from pcvr import PcvrError
from pcvr.widgets.standings import ORDERS, WORST, LeagueChoice, attacks_of, chosen_rows, league_explorer, league_table
from tests.standings import empty, full, partly, rows_of

FULL = {task: rows_of(full(), task) for task in ("caption", "vqa")}
START = LeagueChoice("caption")


def names(choice: LeagueChoice) -> list[str]:
    return [row.row for row in chosen_rows(FULL, choice)]


def test_rows_are_filtered_and_sorted() -> None:
    assert names(START)[:3] == ["none", "pcvr", "ortho_purify"]
    assert names(replace(START, order=ORDERS[2]))[:3] == ["none", "ortho_purify", "pcvr"]
    assert names(replace(START, order=ORDERS[1]))[-1] == "ortho_purify"
    assert names(replace(START, order=ORDERS[3]))[:3] == ["none", "pcvr", "pcvr_paper"]
    assert names(replace(START, have=frozenset({"clean"}))) == ["none", "strip"]
    assert names(replace(START, have=frozenset())) == ["none"]
    assert names(replace(START, settings="tuned")) == ["none"]
    assert "bye" in names(replace(START, settings="its paper")) and "pcvr" not in names(
        replace(START, settings="its paper")
    )


def test_cells_say_what_they_are() -> None:
    table = league_table(FULL, START)
    assert (
        "&lt; 0.6 % in each of 3 seeds (0 of 512) under each attack that was run" in table
        and "1.50 x" in table
        and "its paper" in table
    )
    assert table.count('scope="row"') == len(FULL["caption"]) and "<caption>" in table
    assert "points under badnets" in table and "points under" not in league_table(FULL, replace(START, attack="sig"))
    assert "attack did not take" in league_table(FULL, replace(START, attack="wanet"))
    some = {"caption": rows_of(partly())}
    assert "; 2 of 6 attacks run" in league_table(some, START)
    assert "3 of them were run" in league_table(some, START)
    assert "not run" in league_table(some, replace(START, attack="ftrojan"))
    nothing = league_table({"caption": rows_of(empty())}, START)
    assert ", 0 of them were run" in nothing and "%" not in re.sub(r"<th.*?</th>", "", nothing)


def test_it_follows_its_controls() -> None:
    box, controls = league_explorer(FULL, "vqa")
    assert "Task vqa" in controls.table.value and box.children
    controls.have["training"].value = False
    assert "pcvr</th>" not in controls.table.value and "ortho_purify</th>" in controls.table.value
    controls.have["base"].value = False
    assert "ortho_purify</th>" not in controls.table.value
    controls.attack.value = "sig"
    assert "attack: sig" in controls.table.value
    controls.task.value = "caption"
    assert "Task caption" in controls.table.value and controls.choice().have == {"weights", "clean"}
    controls.settings.value = "ours"
    assert "its paper" not in controls.table.value
    assert controls.attack.options == tuple(attacks_of(FULL, "caption")) and controls.attack.options[0] == WORST


@pytest.mark.parametrize(
    "wrong",
    [
        replace(START, task="no such"),
        replace(START, attack="no such"),
        replace(START, settings="no such"),
        replace(START, order="no such"),
        replace(START, have=frozenset({"no such"})),
    ],
)
def test_unknown_choices(wrong: LeagueChoice) -> None:
    with pytest.raises(PcvrError, match="'no such'"):
        chosen_rows(FULL, wrong)


def test_no_task() -> None:
    with pytest.raises(PcvrError, match="tasks is empty"):
        league_explorer({})
