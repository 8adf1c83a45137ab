"""Histograms for a table: every picture is counted once, and a run keeps them beside its record."""

from functools import partial

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import pcvr
from benchmarks.distributions import plan
from pcvr import PcvrError
from pcvr.analysis.invariance import measure_invariance
from pcvr.experiments import Experiment, results, run_experiment, sweep
from pcvr.experiments.histograms import (
    ANSWER_BINS,
    chance_of_lower,
    distributions,
    histograms_of,
    local_histograms,
    pixel_view,
)
from tests.tiny import Numbers

ATTACK = pcvr.get_attack("badnets", target="a red ball")


@given(st.lists(st.floats(0, 5), max_size=30), st.sampled_from(sorted(ANSWER_BINS)))
def test_every_value_is_counted_once_in_its_bin(values, figure):
    bins = ANSWER_BINS[figure]
    found, edges = bins.count(np.array(values)), bins.edges
    assert sum(found) == len(values)
    expected = [0] * (len(edges) - 1)
    for value in values:  # the last bin takes its upper border, and everything beyond
        expected[min(sum(value >= edge for edge in edges[1:-1]), len(edges) - 2)] += 1
    assert found == expected


def test_an_unknown_figure_is_a_sentence():
    table = results.Table("test", "2026-01-01", {}, "none", {}, [])
    for call in (lambda: local_histograms("x", {}, {}, "targets"), lambda: histograms_of(table, "caption", "targets")):
        with pytest.raises(pcvr.PcvrError, match="did you mean 'target'"):
            call()


def test_models_at_hand_and_a_table_give_the_same_heaps(tiny_folder, tmp_path):
    small = Experiment("undefended", model=str(tiny_folder), rate=0.25, samples=8, tests=4, max_steps=1)
    runs = sweep([small], tmp_path / "runs", run=partial(run_experiment, extra=distributions), progress=False)
    file = tmp_path / "table.json"
    results.save(file, "test", runs)
    table = results.read(file)
    kept = histograms_of(table, "caption", "divergence")
    assert list(kept) == ["badnets"] and list(kept["badnets"]) == ["undefended"]
    assert {kind: sum(each) for kind, each in kept["badnets"]["undefended"].items()} == {"clean": 4, "triggered": 4}
    assert histograms_of(table, "vqa", "divergence") == {}


def test_heaps_of_spreads(tiny):
    assert pixel_view().level == "pixels" and pixel_view().fraction == pcvr.PCVR().view.fraction
    found = {
        ("before", shown): measure_invariance(tiny, Numbers(3), ATTACK, pixel_view(), shown=shown)
        for shown in ("clean", "triggered")
    }
    heaps = local_histograms("badnets", found, {"undefended": "before"}, "entropy")
    for shown in ("clean", "triggered"):
        own = found["before", shown]
        assert heaps["badnets"]["undefended"][shown] == ANSWER_BINS["entropy"].count(own.entropy)


def test_the_benchmark_has_every_attack_with_and_without_the_defence():
    found = plan()
    assert len({each.key for each in found}) == len(found) == 24
    assert {(each.label, each.defense) for each in found} == {("undefended", "none"), ("defended", "pcvr")}


def test_chance_of_lower_is_that_of_all_pairs() -> None:
    rng = np.random.default_rng(0)
    first, second = rng.integers(0, 6, 40), rng.integers(2, 8, 30)
    counts = [np.bincount(values, minlength=8).tolist() for values in (first, second)]
    pairs = [(a < b) + 0.5 * (a == b) for a in first for b in second]
    assert chance_of_lower(*counts) == pytest.approx(np.mean(pairs))
    assert chance_of_lower([3, 0], [0, 5]) == 1 and chance_of_lower([1, 2], [1, 2]) == 0.5
    for wrong in ([1, 2, 3], [0, 0]):
        with pytest.raises(PcvrError, match="counts over the same bins"):
            chance_of_lower([1, 2], wrong)
