"""Statistics of a study against independent calculations: by hand, by another formula, or by another program."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pcvr import PcvrError
from pcvr.evaluation.seeds import SeedRates, over_seeds
from pcvr.experiments import Experiment
from pcvr.experiments.study.compare import comparisons, ours
from pcvr.experiments.study.frame import frame_of
from pcvr.experiments.study.plan import plan_of
from pcvr.experiments.study.sheets import sheets_of
from pcvr.experiments.study.statistics import holm, paired, paired_over_seeds, took
from tests.studies import plan, pretended, result

SETUP = {"made_by": "t", "date": "d", "versions": {}}
CELLS = list(plan().cells.values())


def rows(*hits: list[int], n: int = 40, cell: int = 0) -> list[dict[str, Any]]:
    """Rows of a frame with these samples hit, a seed each."""
    records = []
    for seed, numbers in enumerate(hits):
        bits = {"aimed": np.ones(n, bool)}
        for name in ("hit", "clean_hit", "right", "triggered_right"):
            bits[name] = np.isin(np.arange(n), numbers)
        records.append(result(replace(CELLS[cell], seed=seed, tests=n), bits) | {"setup": SETUP})
    return frame_of(records).to_dict("records")


class TestSeeds:
    def test_the_example_of_three_seeds_that_differ(self) -> None:
        rates = SeedRates((410, 10, 72), (512,) * 3, (0, 1, 2))
        mean = (410 + 10 + 72) / 3 / 512
        spread = math.sqrt(sum((h / 512 - mean) ** 2 for h in (410, 10, 72)) / 2)
        assert rates.mean == pytest.approx(mean)
        # 4.302653 is the 97.5 % point of Student's t with 2 degrees of freedom, from a printed table.
        assert rates.interval == (max(0, mean - 4.302653 * spread / math.sqrt(3)), 1.0)
        assert str(rates) == "32.0 % [0, 100] over seeds 80.1 / 2.0 / 14.1"

    def test_against_the_definition(self) -> None:
        values = [0.5, 0.52, 0.47, 0.55]
        low, high = over_seeds(values) or (0, 0)
        half = 3.182446 * np.std(values, ddof=1) / 2  # 3 degrees of freedom
        assert (low, high) == pytest.approx((np.mean(values) - half, np.mean(values) + half), abs=1e-6)

    def test_no_interval_without_a_difference(self) -> None:
        assert over_seeds([0.3]) is None and over_seeds([0.3, 0.3]) is None
        assert str(SeedRates((3,), (512,), (0,))).startswith("0.6 % [0.2, 1.7]")
        assert str(SeedRates((512, 512), (512, 512), (0, 1))) == "100.0 % in each of 2 seeds"

    def test_zero_hits_are_a_bound_below_three_over_n(self) -> None:
        rates = SeedRates((0, 0, 0), (512,) * 3, (0, 1, 2))
        assert str(rates) == "< 0.6 % in each of 3 seeds (0 of 512)"
        assert 2.9 / 512 < rates.bound < 3 / 512 and rates.bound == pytest.approx(1 - 0.05 ** (1 / 512))
        assert str(SeedRates((0,), (100,), (0,))) == "< 3.0 % (0 of 100)"

    def test_each_seed_has_its_own_wilson_interval(self) -> None:
        (low, high), _ = SeedRates((8, 0), (10, 10), (0, 1)).wilson
        z, p, n = 1.959964, 0.8, 10
        centre, half = (p + z * z / 2 / n), z * math.sqrt(p * (1 - p) / n + z * z / 4 / n / n)
        assert (low, high) == pytest.approx(((centre - half) / (1 + z * z / n), (centre + half) / (1 + z * z / n)))

    def test_whether_an_attack_took(self) -> None:
        assert took(SeedRates((90, 90), (100, 100), (0, 1))) is True
        assert took(SeedRates((100, 79), (100, 100), (0, 1))) is False
        assert took(None) is None


class TestPaired:
    def test_counts_difference_and_mcnemar(self) -> None:
        (first,), (second,) = rows([*range(10)]), rows([8, 9, 10])
        found = paired(first, second)
        assert (found.n, found.only_first, found.only_second) == (40, 8, 1)
        assert found.difference == pytest.approx(10 / 40 - 3 / 40)
        # Exact McNemar: a fair coin shows a side at most once in nine throws, two-sided.
        assert found.p == pytest.approx(2 * (math.comb(9, 0) + math.comb(9, 1)) / 2**9)

    def test_the_interval_against_all_resamples_of_few_images(self) -> None:
        (first,), (second,) = rows([0, 1, 2], n=6), rows([3], n=6)
        each = np.array([1, 1, 1, -1, 0, 0])
        every = np.array([each[list(draw)].mean() for draw in itertools.product(range(6), repeat=6)])
        low, high = np.quantile(every, [0.025, 0.975])
        assert paired(first, second).interval == pytest.approx((low, high), abs=1 / 6)

    def test_the_interval_against_the_normal_approximation(self) -> None:
        (first,), (second,) = rows([*range(150)], n=400), rows([*range(100, 200)], n=400)
        found = paired(first, second)
        error = math.sqrt((100 + 50 - (100 - 50) ** 2 / 400) / 400**2)  # of a paired difference of proportions
        assert found.interval == pytest.approx((0.125 - 1.96 * error, 0.125 + 1.96 * error), abs=0.01)

    def test_only_samples_that_count_in_both(self) -> None:
        (first,), (second,) = rows([0, 1]), rows([])
        second["bits_aimed"] = "7f" + second["bits_aimed"][2:]  # not the first sample
        found = paired(first, second)
        assert (found.n, found.only_first) == (39, 1)
        assert paired(first, second, "right").n == 40

    def test_runs_that_agree(self) -> None:
        (first,), (second,) = rows([1, 2]), rows([1, 2])
        found = paired(first, second)
        assert found.difference == 0 and found.p == 1
        assert found.interval == pytest.approx((-(1 - 0.05 ** (1 / 40)), 1 - 0.05 ** (1 / 40)))

    def test_runs_that_differ_in_every_sample(self) -> None:
        (every,), (none,) = rows([*range(40)]), rows([])
        allowed = 0.05 ** (1 / 40)  # n differences in n samples allow a rate as low as this
        assert paired(none, every).interval == pytest.approx((-1, -allowed))
        assert paired(every, none).interval == pytest.approx((allowed, 1))

    def test_what_makes_no_pair(self) -> None:
        (first,), (second,) = rows([1]), rows([1], cell=3)
        with pytest.raises(PcvrError, match="differ in attack: they make no pair"):
            paired(first, second)
        del first["bits_hit"]
        with pytest.raises(PcvrError, match="kept no outcome 'hit'"):
            paired(first, first)
        (tested,) = rows([1])
        with pytest.raises(PcvrError, match="differ in split: they make no pair"):
            paired(tested, {**tested, "split": "validation"})

    def test_over_seeds_the_weakest_counts(self) -> None:
        first, second = rows([*range(9)], [*range(5)], [1]), rows([0], [0])
        found, p = paired_over_seeds(first, second)
        assert len(found) == 2 and p == max(each.p for each in found) == pytest.approx(2 / 2**4)
        with pytest.raises(PcvrError, match="no seed in common"):
            paired_over_seeds(first[2:], second)

    def test_seeds_that_contradict_each_other_show_no_difference(self) -> None:
        first, second = rows([*range(20)], []), rows([], [*range(20)])
        found, p = paired_over_seeds(first, second)
        assert all(each.p < 0.001 for each in found) and p == 1


class TestHolm:
    @settings(max_examples=30, deadline=None)
    @given(st.lists(st.floats(0, 1), min_size=1, max_size=8))
    def test_against_the_definition(self, p: list[float]) -> None:
        order = sorted(range(len(p)), key=lambda i: p[i])
        expected, least = [0.0] * len(p), 0.0
        for rank, i in enumerate(order):
            least = max(least, min(1.0, (len(p) - rank) * p[i]))
            expected[i] = least
        assert holm(p) == pytest.approx(expected)

    def test_by_hand(self) -> None:
        assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06]) and holm([]) == []


class TestSheets:
    def records(self, **hits: float) -> Any:
        """A frame of the whole plan; attacks by the fraction of hits without a defence."""
        records = []
        for cell in CELLS:
            kept = pretended(cell)
            if cell.defense == "none":
                hit = np.arange(cell.tests) < hits[cell.attack] * cell.tests
                kept = result(cell, {"aimed": hit | True, "hit": hit, "clean_hit": hit & False, "right": hit | True,
                                     "triggered_right": hit})  # fmt: skip
            records.append(kept | {"setup": SETUP})
        return frame_of(records)

    def test_an_attack_that_did_not_take_is_no_result(self) -> None:
        (sheet,) = sheets_of(plan(), self.records(badnets=1.0, sig=0.6))
        badnets, sig = sheet.columns
        assert [*sheet.columns.values()] == ["badnets", "sig"] and sheet.rows == ["none", "PCVR"]
        assert sheet.took(badnets) is True and sheet.took(sig) is False
        assert sheet.text("PCVR", sig).endswith("; attack did not take")
        assert (
            "did not" not in sheet.text("PCVR", badnets) and sheet.text("none", badnets) == "100.0 % in each of 3 seeds"
        )
        assert ours(sheet) == "PCVR"
        found = comparisons(sheet, "PCVR")
        assert [(one.other, one.attack, len(one.pairs)) for one in found] == [("none", "badnets", 3)]
        assert found[0].pairs[0].difference < -0.8 and found[0].adjusted < 0.001 and "p < 0.001" in str(found[0])

    def test_utility_is_relative_to_no_defence(self) -> None:
        frame = self.records(badnets=1.0, sig=1.0)
        (sheet,) = sheets_of(plan(), frame)
        badnets = next(iter(sheet.columns))
        mine = frame[(frame["label"] == "PCVR") & (frame["attack"] == "badnets")]
        assert sheet.utility("PCVR", badnets) == pytest.approx(mine["right"].mean())
        assert sheet.utility("none", badnets) == 1

    def test_what_was_not_run_is_said(self) -> None:
        frame = self.records(badnets=1.0, sig=1.0)
        kept = frame[~((frame["label"] == "PCVR") & ((frame["attack"] == "sig") | (frame["seed"] == 0)))]
        (sheet,) = sheets_of(plan(), kept)
        badnets, sig = sheet.columns
        assert sheet.text("PCVR", sig) == "not run" and sheet.text("PCVR", badnets).endswith("(2 of 3 runs)")
        assert sheet.took(sig) is True and sheet.utility("PCVR", sig) is None

    def test_titles_name_what_is_not_usual(self) -> None:
        more = [replace(CELLS[0], rate=r) for r in (0.0, 0.01)]
        more += [replace(CELLS[0], attack_options={"size": 4}), replace(CELLS[0], max_steps=100)]
        whole = type(plan())("p", {cell.key: cell for cell in [*CELLS, *more]})
        (sheet,) = sheets_of(whole, frame_of([]))
        titles = [*sheet.columns.values()]
        assert titles == [
            "badnets",
            "sig",
            "badnets, clean data",
            "badnets, 1 %",
            "badnets, size 4",
            "badnets, max_steps 100",
        ]
        clean = [column for column, title in sheet.columns.items() if "clean" in title]
        assert not sheet.attacked(clean[0]) and sheet.took(clean[0]) is None
        assert sheet.text("PCVR", clean[0]) == "-"

    def test_two_attackers_have_a_column_of_their_own(self) -> None:
        cells = [CELLS[0], replace(CELLS[0], second="sig")]
        records = [pretended(cell) | {"setup": SETUP} for cell in cells]
        records[1]["second"] = records[1]["record"] | {"hits": 4, "aimed": 16}
        frame = frame_of(records)
        (sheet,) = sheets_of(plan_of(cells), frame)
        assert [*sheet.columns.values()] == ["badnets", "badnets, and sig of a second attacker"]
        assert all(len(cell.runs) == 1 for cell in sheet.cells.values())
        assert [*frame.iloc[1][["second_hits", "second_n", "second_asr"]]] == [4, 16, 0.25]

    def test_a_row_never_has_a_seed_twice(self) -> None:
        mine = Experiment("mine", "pcvr", tests=40)
        cells = [mine, replace(mine, clean=100), replace(mine, clean=100, seed=1), replace(mine, label="other")]
        (sheet,) = sheets_of(plan_of(cells), frame_of([]))
        assert sheet.rows == ["mine, clean 0", "mine, clean 100", "other"]
        assert [len(cell.planned) for cell in sheet.cells.values()] == [1, 2, 1]

    def test_without_a_run_that_has_no_defence_nobody_knows_whether_it_took(self) -> None:
        whole = plan(labels="none other PCVR", attacks="badnets", seeds=1)
        records = [pretended(cell) | {"setup": SETUP} for cell in whole.cells.values() if cell.label != "none"]
        (sheet,) = sheets_of(whole, frame_of(records))
        (column,) = sheet.columns
        assert sheet.took(column) is None and not comparisons(sheet, "PCVR")
        assert sheet.text("PCVR", column).endswith("; not known whether it took")
