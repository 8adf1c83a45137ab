"""Histograms, cumulated shares and the gate's fit: shares add up, and the fit follows the samples."""

import numpy as np
import pytest

import pcvr
from pcvr.defenses.pcvr.gate import fit_gate
from pcvr.plots import description, png
from pcvr.plots.histograms import attack_histograms, gate_fit, invariance_ecdf, invariance_histograms


@pytest.fixture
def scores():
    rng = np.random.default_rng(1)
    return np.exp(np.r_[rng.normal(-1.5, 0.4, 380), rng.normal(-4, 0.4, 20)])


@pytest.mark.parametrize("log", [False, True])
def test_histograms_add_up_to_all_samples(log):
    rng = np.random.default_rng(0)
    panels = {"before": {"clean": rng.random(50), "triggered": np.zeros(7)}, "after": {"clean": rng.random(9)}}
    figure = invariance_histograms(panels, log=log)
    assert [axes.get_title() for axes in figure.axes] == ["before", "after"]
    heights = [patch.get_height() for patch in figure.axes[1].patches[:30]]
    assert sum(heights) == pytest.approx(100)
    assert "before, triggered: median 0.000" in description(figure) and png(figure)[1:4] == b"PNG"


def test_ecdf_climbs_to_all():
    figure = invariance_ecdf({"a": np.array([3.0, 1.0, 2.0, 2.0])})
    x, y = figure.axes[0].lines[0].get_data()
    assert list(x) == [-np.inf, 1, 2, 2, 3] and list(y) == [0, 25, 50, 75, 100]
    assert invariance_ecdf({"a": np.array([0.0, 1.0])}, log=True).axes[0].get_xscale() == "log"


def test_equal_values_can_be_drawn():
    assert png(invariance_histograms({"t": {"a": np.full(4, 0.2)}}, log=True))


@pytest.mark.parametrize("groups", [{}, {"a": np.array([])}])
def test_nothing_to_draw_is_a_sentence(groups):
    with pytest.raises(pcvr.PcvrError, match="no values"):
        invariance_ecdf(groups)


def test_the_fitted_normals_peak_where_the_clusters_are(scores):
    gate = fit_gate(scores)
    assert gate.found
    truth = np.arange(400) >= 380
    figure = gate_fit(scores, gate, truth)
    lines = {line.get_label(): line.get_data() for line in figure.axes[0].lines}
    for label, centre in (("fit: low cluster", -4), ("fit: the rest", -1.5)):
        x, y = lines[label]
        assert np.log(x[np.argmax(y)]) == pytest.approx(centre, abs=0.3)
    assert "20 of them among the 20 poisoned ones" in description(figure)
    assert figure.axes[0].get_yscale() == "log", "20 samples beside 380 are seen"
    suspicion = figure.axes[1].lines[0].get_ydata()
    assert suspicion[0] > 0.9 and suspicion[-1] < 0.1


def test_without_a_cluster_there_is_one_normal_and_no_suspicion(scores):
    calm = scores[:380]
    figure = gate_fit(calm, fit_gate(calm))
    assert [line.get_label() for line in figure.axes[0].lines] == ["fit"]
    assert "no separate low cluster" in description(figure) and "0 samples are suspicious" in description(figure)


def test_heaps_of_attacks_stand_in_rows_and_columns():
    low, high = [4] + 19 * [0], 19 * [0] + [2]
    both = {"clean": low, "triggered": high}
    figure = attack_histograms(
        {"a": {"undefended": both, "defended": {"clean": low}}, "b": {"undefended": both}}, "target"
    )
    assert [axes.get_title() for axes in figure.axes[:2]] == ["undefended", "defended"]
    assert [axes.get_ylabel() for axes in figure.axes[::2]] == ["a", "b"]
    outline = figure.axes[0].patches[1].get_data()
    assert outline.values[0] == 100 and outline.values[1:].sum() == 0  # each group's shares add up to 100 %
    assert "a undefended triggered 0.95 to 1.00" in description(figure) and png(figure)[1:4] == b"PNG"
    with pytest.raises(pcvr.PcvrError, match="no histograms"):
        attack_histograms({}, "target")
