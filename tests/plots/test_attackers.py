"""Figures of attackers who know the defence."""

from __future__ import annotations

import pytest

import pcvr
from pcvr import PcvrError
from pcvr.attacks import get_attack
from pcvr.experiments.attackers import ATTACKERS, Attempt, attempts
from pcvr.experiments.whole_study import OURS
from pcvr.plots.attackers import attempts_picture, near_picture, poison_gallery
from pcvr.plots.describe import description
from tests.studies import pretended


def test_a_gallery_shows_what_each_attacker_adds() -> None:
    sample = pcvr.open_data("scenes", n=1)[0]
    chosen = {name: ATTACKERS[name].attack("sig") for name in ("covers: the whole trigger", "target in front")}
    figure = poison_gallery(sample, chosen)
    titles = [axes.get_title() for axes in figure.axes]
    assert titles.count("clean") == 2 and titles.count("cover, in training") == 1
    said = " ".join(description(figure).split())
    assert f"a photo of the banana {sample.answer}" in said
    with pytest.raises(PcvrError, match="attacks is empty"):
        poison_gallery(sample, {})


def test_a_sample_that_an_attack_cannot_use() -> None:
    data = pcvr.open_data("scenes", n=60, task="vqa")
    colourless = next(
        s for s in map(data.__getitem__, range(60)) if not get_attack("sig", answer="recolour").candidate(s)
    )
    figure = poison_gallery(colourless, {"x": ATTACKERS["colours exchanged"].attack("sig", "vqa")})
    assert "poisoned, in training" not in [axes.get_title() for axes in figure.axes]


def test_attempts_are_drawn_and_those_not_run_say_so() -> None:
    cells = [cell for name in ("thin", "many copies") for row in OURS for cell in ATTACKERS[name].cells(row, OURS[row])]
    records = [pretended(cell) | {"setup": {}} for cell in cells if cell.task == "caption"]
    found = attempts(records, OURS)
    assert len(found) == 2 * sum(len(each.attacks) * len(each.tasks) for each in ATTACKERS.values())
    assert sum(each.hits is not None for each in found) == len(records) == 6
    said = description(attempts_picture(found))
    assert "many copies, badnets, caption, none: 100.0 %" in said and "many copies, badnets, vqa, none: not run" in said
    with pytest.raises(PcvrError, match="attempts is empty"):
        attempts_picture([])


def test_an_attempt_that_is_alone_and_not_run() -> None:
    assert "not run" in description(attempts_picture([Attempt("thin", "sig", "vqa", "none")]))


def test_near_triggers() -> None:
    figure = near_picture({"badnets": (60, 64), "half size": (0, 64)}, "near")
    assert "half size: < 4.6 % (0 of 64)" in description(figure)
    with pytest.raises(PcvrError, match="rates is empty"):
        near_picture({})
