"""Figures of the comparison of defences: a full table, a partly run one and an empty one."""

from __future__ import annotations

import pytest

from pcvr import PcvrError
from pcvr.experiments.access import ACCESS
from pcvr.plots.access import NOTHING, decision_picture
from pcvr.plots.describe import description
from pcvr.plots.reported import reported_picture
from pcvr.plots.standings import attack_panels, frontier_picture, price_in_words
from tests.standings import empty, full, partly, rows_of


def test_the_questions_name_every_defence() -> None:
    said = description(decision_picture())
    assert all(row in said for row in ACCESS if row != "none") and NOTHING in said and "Otherwise: after" in said


def test_a_full_table() -> None:
    found = rows_of(full())
    said = description(attack_panels(found, "tiny"))
    assert "pcvr (ours): badnets < 0.6 % in each of 3 seeds (0 of 512)" in said and "wanet 40.0 %" in said
    assert "(attack did not take)" in said and "not run" not in said
    titles = [axes.get_title() for axes in attack_panels(found).axes]
    assert titles.count("badnets") == 1 and "wanet\ndid not take" in titles
    said = description(frontier_picture(found))
    assert said.endswith("Not beaten by another: pcvr, ortho_purify.") and "time x 1.50" in said


def test_a_table_that_is_partly_run() -> None:
    found = rows_of(partly())
    said = description(attack_panels(found))
    assert "bye (its paper): badnets 60.2 % [55.9, 64.3], blended not run" in said
    assert "wanet\nundefended: not run" in [axes.get_title() for axes in attack_panels(found).axes]
    assert "2 of 6 attacks run" in description(frontier_picture(found))
    said = description(frontier_picture(found))
    assert "in each of 3 seeds (0 of 512) under each attack that was run" in said
    assert price_in_words(next(row for row in found if row.row == "tcap")) == "tcap (its paper): not run"


def test_an_empty_table() -> None:
    assert "Nothing was run" in description(frontier_picture(rows_of(empty())))
    assert "none: badnets not run" in description(attack_panels(rows_of(empty())))
    for draw in (attack_panels, frontier_picture):
        with pytest.raises(PcvrError, match="there is no row"):
            draw([])


def test_what_is_reported_is_said_to_be_of_others() -> None:
    figure = reported_picture()
    said = description(figure)
    assert "on other models, data and attacks" in said and "from a machine-written summary" in said
    assert all(axes.get_title().startswith("not ours") for axes in figure.axes)
