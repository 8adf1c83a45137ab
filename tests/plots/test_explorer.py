"""Figures of a grid: which dots are where, which are joined, and what the text says."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from pcvr import PcvrError
from pcvr.plots import description, png
from pcvr.plots.explorer import knob_effects, point_curves, point_distributions, trade_off
from tests import points as made


def lines(axes: Any) -> dict[str, list[Any]]:
    """Lines by their label, those without one under ``""``."""
    found: dict[str, list[Any]] = {}
    for line in axes.lines:
        label = line.get_label()
        found.setdefault("" if label.startswith("_") else label, []).append(line)
    return found


class TestTradeOff:
    def test_every_point_is_drawn_where_it_belongs(self) -> None:
        grid = made.grid()
        axes = trade_off(grid.points, grid.references, by="apart_weight").axes[0]
        dots = {(line.get_xdata()[0], line.get_ydata()[0]) for line in axes.lines if len(line.get_xdata()) == 1}
        due = {(p.utility, 100 * p.asr) for p in (*grid.points, *grid.references)}
        assert dots == due
        assert {"pull-apart weight 0", "pull-apart weight 4", "undefended", "clean data"} <= lines(axes).keys()

    def test_the_frontier_is_joined_in_order(self) -> None:
        beaten = made.point(50, 0.5, made.setting(0.3, 9.0))
        (joined,) = lines(trade_off([*made.grid().points[::-1], beaten]).axes[0])["no other setting is better"]
        assert np.allclose(joined.get_xdata(), [60, 70, 80, 90]) and np.allclose(joined.get_ydata(), [0, 10, 20, 30])

    def test_the_chosen_one_is_ringed_with_its_interval(self) -> None:
        grid = made.grid()
        chosen = grid.points[1]
        axes = trade_off(grid.points, chosen=chosen).axes[0]
        (ring,) = lines(axes)["chosen, with 95 % interval"]
        assert (ring.get_xdata()[0], ring.get_ydata()[0]) == (chosen.utility, 10.0)
        spans = [tuple(line.get_ydata()) for line in lines(axes)[""] if len(line.get_ydata()) == 2]
        assert tuple(100 * end for end in chosen.interval) in spans

    def test_what_was_trained_here_is_a_star_and_beats_nobody(self) -> None:
        grid = made.grid()
        best = made.point(0, 0.99, here=True)
        axes = trade_off(grid.points, fresh=[best]).axes[0]
        (star,) = lines(axes)["trained here"]
        assert star.get_marker() == "*" and len(lines(axes)["no other setting is better"][0].get_xdata()) == 4

    def test_the_text_has_the_best_and_the_references(self) -> None:
        grid = made.grid()
        said = description(trade_off(grid.points, grid.references, title="one dot for each defence setting"))
        assert said.startswith("one dot for each defence setting. ")
        first = "fraction of patches 0.3, pull-apart weight 0: attack success 0 of 100"
        assert f"{first}, all attributes right (%) 60.0" in said
        assert "undefended: attack success 99 of 100" in said

    def test_only_points_of_one_measure(self) -> None:
        photographs = made.point(clean={"cider": 90.0}, triggered={"cider": 2.0})
        for points in ([], [made.point(), photographs]):
            with pytest.raises(PcvrError, match="those of one case"):
                trade_off(points)
        assert "CIDEr" in trade_off([photographs]).axes[0].get_xlabel()

    def test_fresh_points_alone(self) -> None:
        assert png(trade_off([], fresh=[made.point(here=True)]))


class TestKnobEffects:
    def test_medians(self) -> None:
        figure = knob_effects(made.grid().points, "t")
        assert [axes.get_xlabel() for axes in figure.axes[2:]] == ["fraction of patches", "pull-apart weight"]
        medians = [axes.lines[-1].get_ydata().tolist() for axes in figure.axes]
        assert np.allclose(medians, [[5, 25], [10, 20], [65, 85], [70, 80]])
        assert "attack success at fraction of patches 0.9: 25.0" in description(figure)

    def test_a_single_point_and_none(self) -> None:
        assert png(knob_effects([made.point()]))
        with pytest.raises(PcvrError, match="no point to draw"):
            knob_effects([])


class TestCurves:
    def test_each_panel(self) -> None:
        point = made.point()
        loss, defence, fires, good = point_curves({"grid": point, "trained here": replace(point, here=True)}).axes
        assert lines(loss)["grid"][0].get_ydata().tolist() == [2.0, 1.0]
        assert lines(defence)["views apart, grid"][0].get_xdata().tolist() == [20], "what is not there is not drawn"
        assert lines(fires)["grid"][0].get_ydata().tolist() == [0, 50]
        assert np.allclose(lines(good)["trained here"][0].get_ydata(), [10, 90])
        styles = {line.get_linestyle() for label in ("grid", "trained here") for line in lines(loss)[label]}
        assert len(styles) == 2, "colour alone tells nothing apart"
        assert any(list(line.get_xdata()) == [5, 5] for line in lines(loss)[""]), "where the gate looked"

    def test_no_defence(self) -> None:
        plain = made.point(where=(), gate=[], history={"step": [10], "loss": [1.0]})
        defence = point_curves({"undefended": plain}).axes[1]
        assert [text.get_text() for text in defence.texts] == ["nothing to report"]

    def test_the_text(self) -> None:
        said = description(point_curves({"grid": made.point(right=0.8)}))
        assert "grid: attack success ends at 50 percent" in said and "all attributes right (%) at 80" in said

    def test_none(self) -> None:
        for draw in (point_curves, point_distributions):
            with pytest.raises(PcvrError, match="no point to draw"):
                draw({})


class TestDistributions:
    def test_shares_and_axes(self) -> None:
        point = made.point()
        figure = point_distributions({"grid": point, "trained here": point})
        assert len(figure.axes) == 4
        target, divergence = figure.axes[:2]
        assert target.get_xscale() == "log" and divergence.get_xscale() == "linear"
        values, edges, _ = target.patches[0].get_data()
        assert values[0] == 100 and values.sum() == 100 and len(edges) == len(values) + 1

    def test_the_text(self) -> None:
        said = description(point_distributions({"grid": made.point()}))
        assert "probability of the whole target, triggered: most near 0.66" in said
        assert "divergence of image and view (nats), clean: most near 0.025" in said
