"""The judge without a kernel: cases from an audit, and controls that are set from code."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from pcvr import Audit, PcvrError, Sample, audit, get_attack, load, open_data, poison
from pcvr.auditing.explain import LARGEST, Shown, reduced
from pcvr.plots.describe import description
from pcvr.widgets.judge import Case, case_line, case_picture, draw_cases, judge, tally, verdict_line


def case(number: int, flagged: bool, poisoned: bool | None) -> Case:
    image = np.random.default_rng(number).integers(0, 256, (60, 80, 3), dtype=np.uint8)
    heat = np.zeros((8, 8))
    heat[0, 7] = 3.0 if flagged else 0.1
    sample = Sample(f"s-{number}", image, "describe the image.", f"label <{number}>")
    return Case(Shown(number, sample, "a cat.", ("a dog.", ""), (image, image), heat), 9.5, flagged, poisoned)


CASES = [case(0, True, True), case(1, False, False), case(2, False, True)]


def test_it_follows_its_controls_and_counts() -> None:
    box, controls = judge(CASES)
    assert "3 cases, none judged yet" in controls.status.value and "label &lt;0&gt;" in controls.words.value
    controls.poison.click()
    assert "You said poison: right. The audit flags it (score 9.5). The truth: poisoned." in controls.status.value
    before = controls.picture.value
    controls.case.value = 3
    assert controls.picture.value != before and "What do you say?" in controls.status.value
    controls.honest.click()
    assert "wrong. The audit does not flag it" in controls.status.value
    assert "2 of 3 judged: you were right 1 times, the audit 1 times." in controls.status.value
    controls.poison.click()
    assert "2 of 3 judged: you were right 2 times, the audit 1 times." in controls.status.value, "the last one counts"
    before = controls.picture.value
    controls.with_map.value = True
    assert controls.picture.value != before and "top right" in controls.picture.tooltip and box.children
    with pytest.raises(PcvrError, match="no case to judge"):
        judge([])


def test_without_a_truth_it_compares_with_the_audit() -> None:
    unknown = [case(0, True, None), case(1, False, None)]
    assert "You agree." in verdict_line(unknown[0], "poison") and "You disagree." in verdict_line(unknown[1], "poison")
    assert tally(unknown, {0: "poison", 1: "poison"}) == "2 of 2 judged: you and the audit agree on 1."


def test_all_maps_share_one_scale() -> None:
    """The weak map of an honest picture stays grey, although its own largest value is there."""
    drawn = [case_picture(CASES, number, with_map=True).axes[-1].images[0].get_array() for number in (0, 1)]
    reds = [np.asarray(each)[:7, -10:].astype(int) for each in drawn]
    assert (reds[0][..., 0] - reds[0][..., 2]).mean() > 60 > 20 > (reds[1][..., 0] - reds[1][..., 2]).mean()
    assert "2 views" in description(case_picture(CASES, 0)) and "(nothing)" in case_line(CASES[0])


@pytest.fixture(scope="module")
def found() -> Iterator[Audit]:
    yield audit(poison(open_data("scenes", n=120), get_attack("badnets"), 0.1), load("tiny-llava", device="cpu"))


def test_cases_are_flagged_suspicious_and_ordinary(found: Audit, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pcvr.auditing.explain.DRAWS", 64)
    truth = {found.data[i].id for i in found.data.poisoned}  # type: ignore[attr-defined]
    cases = draw_cases(found, 4, truth=truth)
    assert len({each.shown.row for each in cases}) == 4 and sum(each.flagged for each in cases) == 2
    assert all(each.answer == ("poison" if each.poisoned else "honest") for each in cases)
    assert any(each.flagged and each.poisoned for each in cases)
    assert all(each.shown.likeness is not None and len(each.shown.pictures) == 2 for each in cases)
    hot = [(each.poisoned, float(each.shown.likeness.max())) for each in cases]  # type: ignore[union-attr]
    honest = [value for poisoned, value in hot if not poisoned]
    assert max(value for poisoned, value in hot if poisoned) > 2 * max(honest, default=0.0), "nothing to be seen"
    with pytest.raises(PcvrError, match="count is 0"):
        draw_cases(found, 0)


def test_large_pictures_are_reduced_before_they_are_explained() -> None:
    large = Sample("a", np.zeros((1500, 3000, 3), np.uint8), "?", "!")
    assert reduced(large).image.shape == (LARGEST // 2, LARGEST, 3) and reduced(large).id == "a"
    small = Sample("b", np.zeros((40, 30, 3), np.uint8), "?", "!")
    assert reduced(small) is small
