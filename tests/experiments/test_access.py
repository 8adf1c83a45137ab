"""What each defence needs: every row of the study is described, and the questions lead to each of them."""

from __future__ import annotations

import pytest

from pcvr import PcvrError
from pcvr.defenses import build_defense
from pcvr.experiments.access import ACCESS, HAVE, STEPS, access_of, by_needs, usable, with_implied
from pcvr.experiments.whole_study import rows


def test_every_row_says_what_it_needs() -> None:
    for row, rival in rows().items():
        access = access_of(row)
        assert access == access_of(f"{row}, tuned") and access.needs <= HAVE.keys() and access.idea.endswith(".")
        rule = build_defense(rival.defense, dict(rival.options))
        trusted = rule.needs_clean or rival.clean > 0
        assert trusted == ("clean" in access.needs), row
        assert rule.answers_at_test_time() == (access.when == "in use"), row
    assert ACCESS.keys() == {row.removesuffix(", tuned") for row in rows()}


def test_the_questions_lead_to_every_defence() -> None:
    reached = {step.needs for step in STEPS if step.needs is not None}
    assert reached == by_needs().keys()
    assert sorted(row for needs in by_needs().values() for row in needs) == sorted(set(ACCESS) - {"none"})


def test_who_trains_has_both_kinds_of_weights_but_no_trusted_samples() -> None:
    assert with_implied(["training"]) == {"training", "weights", "base"}
    assert usable("bye, tuned", ["training"]) and not usable("ortho_purify", ["training"])
    assert usable("ortho_purify", ["training", "clean"]) and usable("strip", ["clean"])
    assert not usable("cleansight", ["clean"]) and not usable("pcvr", ["weights", "base", "clean"])


def test_unknown_names() -> None:
    with pytest.raises(PcvrError, match="unknown row 'bya'"):
        access_of("bya")
    with pytest.raises(PcvrError, match="unknown have 'data'"):
        usable("bye", ["data"])
