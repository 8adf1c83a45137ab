"""Figures of token distributions: bars are probabilities, and the texts name words and figures."""

import numpy as np
import pytest

import pcvr
from pcvr.analysis.two_views import ViewTrace
from pcvr.plots import description, png
from pcvr.plots.distributions import along_the_answer, mean_along, token_map, trace_bars, trace_figure

WORDS = ("a", "red", "blue", "ball", "<eos>")


def telling(tokens=("a", "red", "ball", "<eos>"), seed=0):
    rng = np.random.default_rng(seed)
    p, q = (rng.dirichlet(np.ones(5), len(tokens)) for _ in range(2))
    one, two, three = (rng.random(len(tokens)) * 0.6 for _ in range(3))
    image = np.zeros((8, 8, 3), np.uint8)
    return ViewTrace("a red ball", tokens, p, q, one, two, three, image, image, WORDS)


def test_one_telling_shows_pictures_words_and_the_whole_answer():
    told = telling()
    figure = trace_figure(told, 1, "defended, triggered picture", top=3)
    original, view, bars, along = figure.axes
    assert (original.get_title(), view.get_title()) == ("original", "view")
    widths = [patch.get_width() for patch in bars.patches]
    np.testing.assert_allclose(widths[:3], [p for _, p, _ in told.top(1, 3)])
    np.testing.assert_allclose(widths[3:], [q for _, _, q in told.top(1, 3)])
    np.testing.assert_allclose([patch.get_height() for patch in along.patches], told.divergence)
    assert "token 2 of 4" in description(figure) and "defended, triggered picture." in description(figure)
    with pytest.raises(pcvr.PcvrError):
        trace_figure(told, 4)


def test_colours_tell_clean_from_triggered():
    figure = trace_bars({"before, clean": telling(), "before, triggered": telling(seed=1)}, token=9)
    clean, marked = (axes.patches[0].get_facecolor() for axes in figure.axes)
    assert clean != marked
    assert "token 4 of 4" in description(figure)  # beyond the end: the last token
    figure = trace_bars({"only": telling()})
    assert len(figure.axes) == 2  # the empty place stays empty
    assert f"token {telling().divergence.argmax() + 1} of 4" in description(figure)
    with pytest.raises(pcvr.PcvrError):
        trace_bars({})


def test_the_map_has_a_row_for_each_word_in_play():
    told = telling()
    figure = token_map(told, top=2, title="t")
    rows = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    wanted = {w for t in range(4) for w, p, q in told.top(t, 2) if max(p, q) >= 0.02}
    assert len(set(rows)) == len(rows) and wanted == set(rows)
    shown = figure.axes[0].images[0].get_array()
    assert shown.shape == (len(rows), 4) and shown[0, 0] == pytest.approx(told.original[0][WORDS.index(rows[0])])
    assert png(figure)[1:4] == b"PNG"


def test_divergence_along_answers():
    groups = {"clean": [telling(), telling(("a", "<eos>"), 2)], "triggered": [telling(seed=3)]}
    figure = mean_along(groups, tokens=5)
    line = figure.axes[0].lines[0].get_ydata()
    assert line[0] == pytest.approx(np.mean([t.divergence[0] for t in groups["clean"]]))
    assert line[2] == pytest.approx(groups["clean"][0].divergence[2]) and np.isnan(line[4])
    groups["clean"] += [telling(("a",), 4)] * 3  # now only one of five answers gets as far as the third token
    assert np.isnan(mean_along(groups, tokens=5).axes[0].lines[0].get_ydata()[2])
    figure = along_the_answer({"clean": telling(), "triggered": telling(seed=1)}, cap=0.4)
    assert len(figure.axes) == 2 and "clean: mean" in description(figure)
