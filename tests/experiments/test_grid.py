"""Grids over a defence's options: laid out, run, read again; the points they hold, and training one more."""

from __future__ import annotations

import json
import runpy
from dataclasses import replace
from pathlib import Path
from threading import Timer
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import pcvr
from pcvr import PcvrError, VisionLanguageModel
from pcvr.analysis.invariance import measure_invariance
from pcvr.data import open_data
from pcvr.defenses import get_defense
from pcvr.experiments import Experiment, run_experiment
from pcvr.experiments.grid import (
    BESIDE,
    at_setting,
    frontier,
    grid_of,
    knob_effects,
    knobs_of,
    lay_out,
    name_of,
    options_at,
    read_grid,
    references,
    run_grid,
    run_point,
    setting_of,
)
from pcvr.experiments.local_run import Cancelled, LocalTrainer, train_point
from pcvr.experiments.point import GRID_BINS, Case, grid_view, history_columns, point_histograms, point_of
from pcvr.experiments.results import FOLDER
from pcvr.training import FinetuneResult
from pcvr.training.live import Recorder
from tests import points as made
from tests.tiny import Numbers

SCANS = {"gate": "two_stage"}
BASE = Experiment("PCVR", defense="pcvr", options=SCANS)
USUAL = setting_of("pcvr", {})


class TestLayingOut:
    def test_the_grid_has_54_settings_and_begins_with_the_defences_own(self) -> None:
        plan = lay_out(BASE, knobs_of())
        assert len(plan) == 54 == len({e.key for e in plan})
        assert get_defense("pcvr", **plan[0].options) == get_defense("pcvr", **SCANS)
        moved = [sum(a != b for a, b in zip(setting_of("pcvr", e.options), USUAL, strict=True)) for e in plan]
        assert moved == sorted(moved) and moved[:8] == [0, *[1] * 7]

    def test_every_combination_is_there_once_and_reaches_the_defence(self) -> None:
        plan = lay_out(BASE, {"view.fraction": (0.3, 0.5), "scan_at": (0.1,), "cap": (0.2, 0.3)})
        rules = [get_defense(e.defense, **e.options) for e in plan]
        seen = {(r.view.fraction, r.scan_at, r.cap) for r in rules}  # type: ignore[attr-defined]
        assert seen == {(s, (0.1,), c) for s in (0.3, 0.5) for c in (0.2, 0.3)}

    def test_other_options_stay_those_of_the_view_too(self) -> None:
        base = replace(BASE, options={"cap": 0.3, "view": {"operator": "mean"}})
        (one,) = lay_out(base, {"view.fraction": (0.5,)})
        assert one.options == {"cap": 0.3, "view": {"operator": "mean", "fraction": 0.5}}
        assert at_setting(base, ()).options == base.options

    @pytest.mark.parametrize("knobs", [{}, {"cap": ()}, {"capp": (1,)}, {"cap": (9,)}, {"view.shore": (0.5,)}])
    def test_what_cannot_be_is_refused_before_anything_runs(self, knobs: Any) -> None:
        with pytest.raises(PcvrError):
            lay_out(BASE, knobs)

    def test_what_a_grid_is_held_against(self) -> None:
        undefended, clean = references(replace(BASE, options={"cap": 0.3}, rate=0.1))
        assert (undefended.label, undefended.defense, undefended.options, undefended.rate) == (
            "undefended", "none", {}, 0.1,
        )  # fmt: skip
        assert (clean.label, clean.defense, clean.rate) == ("clean data", "none", 0.0)

    @given(st.tuples(*(st.sampled_from(values) for values in knobs_of().values())))
    def test_options_and_setting_are_each_others_way_back(self, values: tuple[float, ...]) -> None:
        setting = tuple(zip(BESIDE, values, strict=True))
        assert setting_of("pcvr", SCANS | options_at(setting)) == setting
        through_json = json.loads(json.dumps(SCANS | options_at(setting)))
        assert setting_of("pcvr", through_json) == setting

    def test_a_defence_without_the_knobs_has_no_setting(self) -> None:
        assert setting_of("none", {}) == ()

    def test_names(self) -> None:
        assert name_of("view.fraction") == "fraction of patches" and name_of("feature_weight") == "feature weight"


class TestFrontier:
    @given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), max_size=9))
    def test_against_the_definition(self, pairs: list[tuple[int, int]]) -> None:
        def beats(other: tuple[int, int], mine: tuple[int, int]) -> bool:
            return other != mine and other[0] <= mine[0] and other[1] >= mine[1]

        found = frontier([a for a, _ in pairs], [u for _, u in pairs])
        assert found == [i for i, mine in enumerate(pairs) if not any(beats(other, mine) for other in pairs)]
        assert found or not pairs

    def test_lengths_that_differ(self) -> None:
        with pytest.raises(PcvrError, match=r"asr \[2\] and utility \[1\]"):
            frontier([1, 2], [1])


class TestPoint:
    def test_figures_by_hand(self) -> None:
        point = made.point(25, 0.8)
        assert (point.asr, point.measure, point.utility, point.triggered_utility) == (0.25, "attributes", 80, 40)
        assert point.utility_label == "all attributes right (%)"
        low, high = point.interval
        assert 0.17 < low < 0.25 < high < 0.35
        photographs = made.point(clean={"bleu4": 20.0, "cider": 90.0}, triggered={"bleu4": 1.0, "cider": 2.0})
        assert (photographs.utility, photographs.utility_label) == (90, "CIDEr")

    def test_case_in_words(self) -> None:
        assert str(made.CASE) == "badnets, caption, tiny-llava"
        assert str(Case("sig", "vqa", "m", "my.json")) == "sig, vqa, m, my.json"

    @given(st.lists(st.floats(0, 2), max_size=20))
    def test_a_gauge_counts_every_value(self, values: list[float]) -> None:
        gauge = GRID_BINS["divergence"]
        counts = gauge.count(np.array(values))
        assert sum(counts) == len(values) and len(counts) == len(gauge.edges) - 1
        inside = sum(0.1 <= v < 0.15 for v in values)
        assert counts[2] == inside, "the third bin goes from 0.1 to 0.15"
        assert counts[-1] == sum(v >= 0.65 for v in values), "what is above is counted at the end"

    def test_edges_of_the_target(self) -> None:
        edges = GRID_BINS["target"].edges
        assert edges[0] == 1e-8 and edges[-1] == 1 and np.allclose(np.diff(np.log10(edges)), 0.5, atol=1e-3)

    def test_a_history_by_figure(self) -> None:
        history = [
            {"step": 10, "loss": 1.23456, "learning_rate": 1.0, "grad_norm": 2.0, "epoch": 0.1},
            {"step": 20, "loss": 0.5, "views apart": 0.123456},
        ]
        assert history_columns(history) == {"step": [10, 20], "loss": [1.235, 0.5], "views apart": [None, 0.1235]}

    def test_a_plain_run_makes_no_point(self) -> None:
        with pytest.raises(PcvrError, match="'x' has no history, spreads, watch: make it with run_grid"):
            point_of({"experiment": {"label": "x"}}, ())


@pytest.fixture
def base(tiny_folder: Path) -> Experiment:
    """Three steps on a dozen scenes."""
    return Experiment("small", "pcvr", model=str(tiny_folder), rate=0.25, samples=12, tests=6, max_steps=3, watch=2)


class TestRunning:
    def test_a_grid_goes_on_where_it_stopped_and_makes_points(self, base: Experiment, tmp_path: Path) -> None:
        plan = [*references(base)[:1], *lay_out(base, {"apart_weight": (0.0, 4.0)})]
        first = run_grid(plan[:2], tmp_path, progress=False)
        stamps = {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
        runs = run_grid(plan, tmp_path, progress=False)
        assert runs[:2] == first and len(stamps) == 2
        assert all(path.stat().st_mtime_ns == stamp for path, stamp in stamps.items()), "a run was made twice"
        grid = grid_of(runs, ["apart_weight"])
        (plain,) = grid.references
        assert [p.setting for p in grid.points] == [(("apart_weight", 4.0),), (("apart_weight", 0.0),)]
        assert grid.values("apart_weight") == [0.0, 4.0]
        assert (plain.label, plain.setting, plain.gate) == ("undefended", (), [])
        assert grid.find(plain.case, (("apart_weight", 0.0),)) is grid.points[1]
        assert grid.find(plain.case, (("apart_weight", 2.0),)) is None
        assert grid.find(replace(plain.case, task="vqa"), (("apart_weight", 0.0),)) is None
        for point in (*grid.points, plain):
            assert [look["step"] for look in point.watch] == [0, 2, 3]
            assert point.history["step"] == [1, 2, 3] and len(point.history["loss"]) == 3
            assert point.n <= point.tests == 6 and point.samples == 12 and not point.here
            for key in GRID_BINS:
                assert sum(point.spreads[key]["clean"]) == sum(point.spreads[key]["triggered"]) == 6

    def test_extras_change_nothing_else(self, base: Experiment) -> None:
        plain, more = run_experiment(base), run_point(base)
        for run in (plain, more):
            for name in ("seconds", "date"):
                run["record"].pop(name, None)
        assert {k: v for k, v in more.items() if k not in ("history", "spreads", "seconds")} == {
            k: v for k, v in plain.items() if k != "seconds"
        }

    def test_training_here_gives_the_grids_point(self, base: Experiment, tiny: VisionLanguageModel) -> None:
        setting = (("apart_weight", 2.0), ("entropy_weight", 0.0))
        grids = point_of(run_point(at_setting(base, setting)), setting)
        train, tests = (open_data("scenes", split=split, n=n) for split, n in (("train", 12), ("test", 6)))
        bench = LocalTrainer(replace(base, samples=1, tests=1), tiny, train, tests, pcvr.get_attack("badnets"))
        mine = train_point(bench, setting)
        assert mine.here and mine.case == bench.case == grids.case
        assert replace(mine, here=False, seconds=0) == replace(grids, seconds=0)


class TestCallingOff:
    @pytest.fixture
    def bench(self, base: Experiment, tiny: VisionLanguageModel) -> LocalTrainer:
        data = Numbers(12, answers=("two cats and a red ball .", "yes"))
        return LocalTrainer(
            replace(base, max_steps=2000), tiny, data, data, pcvr.get_attack("badnets", target="a red cat")
        )

    def test_a_stop_ends_the_training_at_the_next_step(self, bench: LocalTrainer) -> None:
        recorder = Recorder()
        timer = Timer(0.5, recorder.stop)
        timer.start()
        with pytest.raises(Cancelled):
            train_point(bench, (), recorder)
        timer.join()
        assert recorder.step < 2000

    def test_a_stop_from_the_start(self, bench: LocalTrainer) -> None:
        recorder = Recorder()
        recorder.stop()
        with pytest.raises(Cancelled):
            train_point(bench, (), recorder)
        assert recorder.step == 1


class TestSpreads:
    def test_counts(self, tiny: VisionLanguageModel) -> None:
        data = Numbers(5, answers=("two cats and a red ball .", "yes"))
        attack = pcvr.get_attack("badnets", target="a red ball")
        found = point_histograms(Trained(tiny), data, attack)
        for kind in ("clean", "triggered"):
            seen = measure_invariance(tiny, data, attack, grid_view(), shown=kind)
            for key, values in (("target", seen.target), ("divergence", seen.divergence)):
                assert found[key][kind] == GRID_BINS[key].count(values)
        assert all(sum(found[key][kind]) == 5 for key in GRID_BINS for kind in ("clean", "triggered"))
        assert json.loads(json.dumps(found)) == found


class Trained(FinetuneResult):
    """A model as if it had been fine-tuned."""

    def __init__(self, vlm: VisionLanguageModel) -> None:
        self.model = vlm


class TestShipped:
    def test_it_reads_and_is_small(self) -> None:
        assert (FOLDER / "grid.json").stat().st_size < 1.5e6
        grid = read_grid()
        assert "benchmarks/grid.py" in grid.made
        assert made.CASE in grid.cases
        for case in grid.cases:
            mine = grid.of(case)
            assert [p.label for p in mine.references] == ["undefended", "clean data"]
            undefended, clean = mine.references
            assert undefended.asr > 0.9 > 0.1 > clean.asr
            settings = [p.setting for p in mine.points]
            assert len(set(settings)) == len(settings) >= 1
            assert all([name for name, _ in setting] == list(BESIDE) for setting in settings)
            assert all(p.watch[-1]["step"] == p.max_steps == 400 for p in mine.points)

    def test_the_script_plans_references_first(self, root: Path) -> None:
        script = runpy.run_path(str(root / "benchmarks" / "grid.py"))
        plan = script["plan"](["caption", "vqa"], 2)
        assert [(e.task, e.label) for e in plan] == [
            (task, label) for task in ("caption", "vqa") for label in ("undefended", "clean data", "PCVR", "PCVR")
        ]
        assert len(script["plan"](["caption"])) == 56
        assert all((e.tests, e.watch, e.samples, e.max_steps) == (256, 50, 2000, 400) for e in plan)
        run = {"record": {"n": 1, "versions": {}, "date": "", "attack": {}}, "key": "x"}
        assert script["slim"]([run]) == [{"record": {"n": 1}, "key": "x"}] and "date" in run["record"]


def test_the_effect_of_a_knob_is_that_between_points_that_differ_in_it_alone() -> None:
    points = read_grid().points
    found = knob_effects(points)
    by_hand = {
        knob: max(
            100 * abs(one.asr - other.asr)
            for one in points
            for other in points
            if {name for name, value in one.setting if dict(other.setting)[name] != value} <= {knob}
        )
        for knob in found
    }
    assert found == pytest.approx(by_hand) and set(found) == set(BESIDE)
    # What notebook 07 says of the shipped grid: the fraction of patches decides, and the entropy weight decides least.
    assert found["view.fraction"] > 90 and min(found, key=lambda knob: found[knob]) == "entropy_weight"
    assert knob_effects(points[:1]) == dict.fromkeys(BESIDE, 0.0)
    with pytest.raises(PcvrError, match="points is empty"):
        knob_effects([])


def test_what_notebook_07_says_of_the_shipped_grid() -> None:
    small = [point for point in read_grid().points if dict(point.setting)["view.fraction"] == 0.3]
    first = {dict(p.setting)["apart_weight"]: p.asr for p in small if _early_with_entropy(p)}
    assert first[0.0] > 0.8 > 0.5 > first[4.0] > 0.2 > first[16.0], "the push does the rest of what the gate missed"
    rest = [p for p in read_grid().points if p.asr > 0.1 and p not in small]
    assert rest and {dict(p.setting)["scan_at"] for p in rest} == {0.5}, "all others that fail are scanned half-way"


def _early_with_entropy(point: Any) -> bool:
    setting = dict(point.setting)
    return setting["scan_at"] == 0.0125 and setting["entropy_weight"] == 0.2
