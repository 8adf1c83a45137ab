"""Figures of trainings: what is drawn is what was measured, and the text says it too."""

import numpy as np
import pytest

import pcvr
from pcvr.evaluation.record import Record
from pcvr.plots import description, png
from pcvr.plots.training import compare, formation, history_curves, rate_bars
from pcvr.training.backdoor_watch import WatchPoint

HISTORY = [{"step": 10, "loss": 3.0}, {"step": 20, "loss": 1.5, "suspicious": 0.05}]


def scores(bleu4, cider, attributes=None):
    return {"bleu4": bleu4, "cider": cider} | ({} if attributes is None else {"attributes": attributes})


def record(hits, attributes=0.9, n=200):
    one = scores(30.0, 250.0, attributes)
    return Record("m", "d", "caption", {"name": "badnets"}, n, one, one, hits, 2, 1.0)


def bars(axes):
    return [patch.get_width() for patch in axes.patches]


def test_history_draws_every_entry_that_has_the_key():
    figure = history_curves({"a": HISTORY, "b": [{"step": 10, "loss": 2.0}]}, marks={"look": 15})
    (axes,) = figure.axes
    assert axes.lines[0].get_xydata().tolist() == [[10, 3.0], [20, 1.5]]
    assert axes.lines[0].get_linestyle() != axes.lines[1].get_linestyle()
    assert "a from 3.00 to 1.50" in description(figure)
    assert len(history_curves({"a": HISTORY}, "suspicious").axes[0].lines[0].get_xdata()) == 1
    with pytest.raises(pcvr.PcvrError, match="no history has an entry 'lose'"):
        history_curves({"a": HISTORY}, "lose")


@pytest.mark.parametrize(
    ("task", "clean", "name", "height"),
    [
        ("caption", scores(20, 100, 0.8), "all attributes right (%)", 80),
        ("caption", scores(20, 100), "CIDEr", 100),
        ("vqa", {"vqa_accuracy": 0.6}, "VQA accuracy (%)", 60),
    ],
)
def test_formation_shows_rates_and_utility(task, clean, name, height):
    points = [WatchPoint(s, h, 0, 40, clean, task) for s, h in ((0, 0), (25, 10), (50, 40))]
    figure = formation(points)
    left, right = figure.axes
    assert left.lines[0].get_ydata().tolist() == [0, 25, 100]
    assert right.get_ylabel() == name and right.lines[0].get_ydata()[0] == pytest.approx(height)
    assert "from 0 to 100 percent" in description(figure)
    assert png(figure)[1:4] == b"PNG"
    with pytest.raises(pcvr.PcvrError, match="no points"):
        formation([])


def test_compare_draws_from_top_to_bottom_and_never_says_zero_percent():
    figure = compare({"base": record(0), "poisoned": record(196)})
    left, right = figure.axes
    assert bars(left) == [98.0, 0.0]  # the first record is on top
    assert [label.get_text() for label in left.get_yticklabels()] == ["poisoned", "base"]
    assert "< 1.5" in [text.get_text() for text in left.texts]
    assert "poisoned: 98.0 percent" in description(figure)
    assert right.get_xlabel() == "all attributes right (%)"
    assert compare({"photos": record(3, None)}).axes[1].get_xlabel() == "CIDEr"


def test_compare_wants_an_attack():
    clean = Record("m", "d", "caption", None, 5, scores(1, 1), None, 0, 0, 1.0)
    for records in ({}, {"a": clean}):
        with pytest.raises(pcvr.PcvrError, match="with an attack"):
            compare(records)


def test_rate_bars_have_intervals():
    figure = rate_bars({"contains": (90, 100), "equals": (0, 100)}, title="t")
    (axes,) = figure.axes
    assert bars(axes) == [0, 90]
    low, high = axes.lines[1].get_xdata()
    assert low < 90 < high and np.isclose(low, 82.56, atol=0.1)
    assert "contains: 90 of 100" in description(figure)
    with pytest.raises(pcvr.PcvrError):
        rate_bars({})
