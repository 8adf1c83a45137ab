"""The figure of the hearings: each is drawn where it was, with its verdict, beside the level of chance."""

import pytest

from pcvr.defenses.pcvr.stream import Hearing
from pcvr.defenses.pcvr.verdicts import VERDICTS
from pcvr.defenses.pcvr.witness import PASSED
from pcvr.plots import description, png
from pcvr.plots.hearings import hearing_curve


def test_every_hearing_is_drawn_with_its_verdict():
    hearings = [Hearing(10 * k, 300 * k, verdict, 0.05, 0.1 * k, 20) for k, verdict in enumerate(VERDICTS, 1)]
    figure = hearing_curve([*hearings, Hearing(90, 2700, "trigger", 0.05, 0.9, 60)])
    (axes,) = figure.axes
    whole, *lines, chance = axes.lines
    assert list(whole.get_xdata()) == [10, 20, 30, 40, 50, 90]
    assert list(whole.get_ydata()) == pytest.approx([0.1, 0.2, 0.3, 0.4, 0.5, 0.9])
    assert [line.get_label() for line in lines] == list(VERDICTS)
    found = {line.get_label(): list(line.get_xdata()) for line in lines}
    assert found["trigger"] == [40, 90] and found["nothing"] == [20]
    assert len({line.get_marker() for line in lines}) == len(VERDICTS)
    assert set(chance.get_ydata()) == {PASSED}
    assert "step 90: 0.90, trigger" in description(figure) and f"chance is {PASSED:g}" in description(figure)
    assert png(figure)[1:4] == b"PNG"


def test_without_a_hearing_it_says_so():
    figure = hearing_curve([])
    assert "there was no hearing" in description(figure)
    assert [text.get_text() for text in figure.axes[0].texts] == ["no hearing yet"]
