"""The paper's form at its price: prices, the best setting, and the search for the weight."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks import frontier as benchmark
from pcvr import PcvrError
from pcvr.defenses import get_defense
from pcvr.experiments import Experiment
from pcvr.experiments.frontier import PricedSetting, best_setting, priced_points, priced_settings


def ran(experiment: Experiment, cider: float, hits: int = 5) -> dict[str, Any]:
    record = {"hits": hits, "n": 10, "aimed": 8, "clean": {"cider": cider}}
    return {"experiment": asdict(experiment), "key": experiment.key, "record": record, "seconds": 1.0}


def setting(asr: float, utility: float, attacks: tuple[str, ...] = benchmark.ATTACKS) -> PricedSetting:
    return PricedSetting("x", {"apart_weight": asr}, asr, utility, attacks)


class TestPrices:
    def test_by_hand(self) -> None:
        plain = [ran(Experiment("plain", attack=a), cider) for a, cider in (("badnets", 500.0), ("sig", 400.0))]
        both = [ran(e, 360.0, hits) for e, hits in zip(benchmark.with_weight("both", 1.0), (2, 8), strict=True)]
        points = priced_points([*plain, *both])
        assert [(p.attack, p.utility, p.asr) for p in points[2:]] == [("badnets", 0.72, 0.25), ("sig", 0.9, 1.0)]
        (found,) = priced_settings(points)
        assert (found.label, found.asr, found.attacks) == ("both", 0.625, benchmark.ATTACKS)
        assert found.utility == pytest.approx(0.81) and found.options["apart_weight"] == 1.0

    def test_forms_with_equal_options_stay_apart(self) -> None:
        """Without weight, a form with features and one without are the same training, and each search needs its own."""
        forms = ("both", "both, outputs only")
        plain = [ran(Experiment("plain", attack=attack), 500.0) for attack in benchmark.ATTACKS]
        runs = [*plain, *(ran(e, 450.0) for form in forms for e in benchmark.with_weight(form, 0.0))]
        found = priced_settings(priced_points(runs))
        assert [s.label for s in found] == list(forms) and found[0].options == found[1].options

    def test_an_attack_without_plain_fine_tuning(self) -> None:
        with pytest.raises(PcvrError, match="none of 'badnets' without a defence"):
            priced_points([ran(e, 1.0) for e in benchmark.with_weight("both", 1.0)])

    def test_the_best_keeps_enough_and_was_tried_on_every_attack(self) -> None:
        cheap, best, dear = setting(0.9, 0.99), setting(0.4, 0.9), setting(0.1, 0.89)
        assert best_setting([cheap, best, dear, setting(0.0, 1.0, ("sig",))]) == best
        assert best_setting([cheap, best, dear], least=0.5) == dear
        assert best_setting([best, setting(0.4, 0.95)]).utility == 0.95
        for none in ([dear], []):
            with pytest.raises(PcvrError, match="no setting keeps 90 % of CIDEr"):
                best_setting(none)


class TestSearch:
    @given(st.floats(-1, 100))
    def test_it_ends_at_the_largest_weight_that_keeps_enough(self, limit: float) -> None:
        kept = {benchmark.START: limit >= benchmark.START}
        while (weight := benchmark.next_weight(kept)) is not None:
            assert weight not in kept
            kept[weight] = limit >= weight
        expected = max((w for w in benchmark.LADDER if limit >= w), default=None)
        assert max((w for w, enough in kept.items() if enough), default=None) == expected
        assert len(kept) <= 3

    def test_every_form_is_another_defence_and_its_weight_counts(self) -> None:
        rules = {}
        for form in benchmark.FORMS:
            for weight in benchmark.LADDER:
                (rules[form, weight],) = {
                    get_defense(e.defense, **e.options) for e in benchmark.with_weight(form, weight)
                }
        assert len(set(rules.values())) == len(rules)

    def test_the_whole_plan_is_small(self) -> None:
        """At worst each form's search takes three weights; the controls, without weight, come on top."""
        settings = 3 * len(benchmark.FORMS) + len(benchmark.CONTROLS)
        assert settings <= 27 and set(benchmark.CONTROLS) <= set(benchmark.FORMS) and 0.0 not in benchmark.LADDER
        assert len({e.key for e in benchmark.plan()}) == len(benchmark.plan())

    def test_it_goes_on_from_what_was_found(self) -> None:
        done = [ran(e, 500.0) for e in benchmark.plan() if e.defense == "none"]
        assert benchmark.other_weights(done) == []
        done += [ran(e, 490.0) for e in benchmark.with_weight("both", 1.0)]
        done += [ran(e, 400.0) for e in benchmark.with_weight("view", 1.0)]
        asked = benchmark.other_weights(done)
        assert asked == [*benchmark.with_weight("both", 3.0), *benchmark.with_weight("view", 0.1)]
        assert not {e.key for e in asked} & {run["key"] for run in done}

    def test_a_row_alone_asks_for_plain_fine_tuning(self) -> None:
        asked = benchmark.other_weights([ran(e, 490.0) for e in benchmark.with_weight("both", 1.0)])
        assert [(e.defense, e.attack) for e in asked] == [("none", attack) for attack in benchmark.ATTACKS]
