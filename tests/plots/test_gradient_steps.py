"""Figures of single steps: bars are the readings, and what did not move says so."""

import numpy as np
import pytest

import pcvr
from pcvr.analysis.gradients import AnswerChange, Step
from pcvr.plots import description, png
from pcvr.plots.gradient_steps import bound_pushes, step_bars, step_table


def step(shift=0.1, norm=2.0):
    before = np.array([0.5, 0.4])
    readings = {
        "target, triggered": AnswerChange(("ban", "<eos>"), before, before + shift, (0.5, 0.6)),
        "truth, clean": AnswerChange(("a", "<eos>"), before, before, (0.5, 0.5)),
    }
    return Step((1.5, 1.25), norm, readings)


def test_bars_are_before_and_after():
    figure = step_bars(step(), "pull apart")
    first, second = (bars for bars in figure.axes[0].containers)
    assert [bar.get_height() for bar in first] == pytest.approx([0.5, 0.4])
    assert [bar.get_height() for bar in second] == pytest.approx([0.6, 0.5])
    assert "ban 0.50 and 0.60" in description(figure) and "from 1.5 to 1.25" in description(figure)
    assert png(figure)[1:4] == b"PNG"


def test_the_table_has_the_changes_in_nats():
    figure = step_table({"apart": step(), "asleep": step(0.0, 0.0)})
    widths = [bar.get_width() for bar in figure.axes[0].patches]
    assert widths == pytest.approx([np.log(0.6 * 0.5 / 0.2), 0])
    assert len({axes.get_xlim() for axes in figure.axes}) == 1, "lengths compare across panels"
    texts = [text.get_text() for text in figure.axes[0].texts]
    assert texts == [f"{widths[0]:+.2f}", "no gradient"] and "asleep" in description(figure)


@pytest.mark.parametrize("steps", [{}, {"a": step(), "b": Step((1, 1), 1.0, {})}])
def test_steps_that_do_not_match_are_a_sentence(steps):
    with pytest.raises(pcvr.PcvrError, match="same readings"):
        step_table(steps)


def test_pushes_are_drawn_over_the_divergence():
    figure = bound_pushes(np.array([0.5, 0.1]), {"hinge": np.array([0.0, 0.5]), "none": np.array([0.5, 0.5])}, 0.4)
    x, y = figure.axes[0].lines[0].get_data()
    assert list(x) == [0.1, 0.5] and list(y) == [0.5, 0.0]
    assert "hinge pushes 1; none pushes 2" in description(figure)
