"""The paper's form at its price, drawn from a table made up for the purpose."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

from pcvr import PcvrError
from pcvr.evaluation.intervals import wilson
from pcvr.experiments.frontier import priced_points
from pcvr.experiments.results import Table
from pcvr.plots.describe import description
from pcvr.plots.frontier import REPORTED, frontier_picture, unbeaten

N = 200


def run(label: str, attack: str, hits: int, cider: float, weight: float | None = None) -> dict[str, Any]:
    options: Mapping[str, Any] = {} if weight is None else {"apart_weight": weight}
    defense = "none" if weight is None else "pcvr_paper"
    experiment = {"label": label, "attack": attack, "defense": defense, "options": options}
    return {"experiment": experiment, "record": {"hits": hits, "n": N, "clean": {"cider": cider}}, "seconds": 2.0}


def table(*runs: dict[str, Any]) -> Table:
    return Table(made_by="x", date="x", versions={}, machine="x", base={}, runs=list(runs))


@pytest.fixture
def shown() -> Table:
    return table(
        *(run("plain SFT", attack, 190, 500.0) for attack in ("badnets", "sig")),
        *(run("both", attack, 180, 495.0, 1.0) for attack in ("badnets", "sig")),
        run("both", "badnets", 60, 450.0, 3.0),
        run("both", "sig", 196, 440.0, 3.0),
        run("view", "badnets", 0, 400.0, 0.0),
        run("view", "sig", 150, 400.0, 0.0),
    )


def test_each_training_is_a_point_at_its_price_with_its_interval(shown: Table) -> None:
    figure = frontier_picture(shown)
    *panels, apart = figure.axes
    assert [axes.get_title() for axes in panels] == ["badnets", "sig"]
    badnets = panels[0]
    dots = {
        (x, y) for line in badnets.lines if line.get_marker() != "None" for x, y in zip(*line.get_data(), strict=True)
    }
    assert dots == {(100.0, 95.0), (99.0, 90.0), (90.0, 30.0), (80.0, 0.0)}
    bars = [np.array(line.get_data()).T for line in badnets.lines if line.get_linestyle() == "-"]
    low, high = (100 * end for end in wilson(60, N))
    assert any(np.allclose(bar, [(90, low), (90, high)]) for bar in bars) and len(bars) == 4
    assert "%" in badnets.get_xlabel() and "%" in badnets.get_ylabel() and apart is not badnets


def test_no_form_is_told_apart_by_its_colour_alone(shown: Table) -> None:
    looks = [
        (line.get_color(), line.get_marker())
        for line in frontier_picture(shown).axes[1].lines
        if line.get_label() in shown.rows
    ]
    assert len(looks) == len(shown.rows) == 3
    assert len({colour for colour, _ in looks}) == len({marker for _, marker in looks}) == 3


def test_only_settings_that_none_beats_are_joined(shown: Table) -> None:
    points = [point for point in priced_points(shown.runs) if point.attack == "sig"]
    assert [(p.label, p.utility) for p in unbeaten(points)] == [("plain SFT", 1.0), ("both", 0.99), ("view", 0.8)]
    line = next(line for line in frontier_picture(shown).axes[1].lines if line.get_linestyle() == ":")
    np.testing.assert_allclose(line.get_xdata(), [100, 99, 80])
    np.testing.assert_allclose(line.get_ydata(), [95, 90, 75])


def test_what_a_summary_reports_stands_apart_and_says_whose_it_is(shown: Table) -> None:
    figure = frontier_picture(shown)
    (bar,) = figure.axes[-1].patches
    assert (bar.get_y(), bar.get_y() + bar.get_height()) == pytest.approx([100 * end for end in REPORTED])
    for words in (figure.axes[-1].texts[0].get_text().replace("\n", " "), description(figure)):
        assert "reported by a machine-written summary of the paper" in words and "10 % less CIDEr" in words
        assert "other models" in words
    assert not any(axes.patches for axes in figure.axes[:-1])
    assert "badnets: plain SFT 95.0 % at 100.0 % of CIDEr" in description(figure)


def test_a_table_without_plain_fine_tuning_is_refused() -> None:
    with pytest.raises(PcvrError, match="none of 'sig' without a defence"):
        frontier_picture(table(run("plain SFT", "badnets", 1, 500.0), run("both", "sig", 1, 500.0, 1.0)))
