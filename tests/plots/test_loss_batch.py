"""Figures for building the loss by hand, sheets of views and of answers."""

import numpy as np
import pytest

import pcvr
from pcvr.defenses import losses
from pcvr.plots import description, png
from pcvr.plots.answers import answer_sheet
from pcvr.plots.loss_batch import BatchPanel, batch_panels, batch_values, parts, term_shapes
from pcvr.plots.views import view_sheet


def test_clean_samples_come_first():
    values, poisoned = np.array([1.0, 2.0, 3.0]), np.array([True, False, False])
    figure = batch_values(values, poisoned, "value (nats)", "t", {"cap": 0.4, "ceiling": 0.2})
    axes = figure.axes[0]
    assert [patch.get_height() for patch in axes.patches[:3]] == [2.0, 3.0, 1.0]
    assert "clean: mean 2.500" in description(figure) and "poisoned: mean 1.000" in description(figure)
    assert {text.get_text() for text in figure.legends[0].get_texts()} == {"clean sample", "poisoned sample"}
    assert {text.get_text() for text in axes.texts} == {"cap", "ceiling"}


@pytest.mark.parametrize("poisoned", [[False, False], [True, True]])
def test_a_batch_of_one_kind_can_be_drawn(poisoned):
    assert png(batch_values(np.array([0.0, 1.0]), np.array(poisoned), "v", "t"))


def test_a_batch_that_does_not_match_is_a_sentence():
    with pytest.raises(pcvr.PcvrError, match=r"\[3\] and poisoned \[2\]"):
        batch_values(np.array([1, 2, 3]), np.array([True, False]), "v", "t")


def test_the_curves_are_the_terms_of_the_defence():
    import torch

    figure = term_shapes(0.4, 0.8, 0.1, 0.5)
    one = torch.ones(1)
    for axes, term in zip(
        figure.axes,
        (
            lambda d: losses.pull_apart(d, one, 0.4),
            lambda h: losses.entropy_excess(h, one, 0.8, 0.1),
            lambda c: torch.relu(c - 0.5),
        ),
        strict=True,
    ):
        x, y = axes.lines[0].get_data()
        for k in (0, 60, 120, 199):
            assert y[k] == pytest.approx(float(term(torch.tensor([x[k]]))), abs=1e-6)


def test_the_thin_curves_are_the_options_of_the_terms():
    import torch

    one = torch.ones(1)
    apart, entropy, features = (
        {line.get_label(): line.get_data() for line in axes.lines} for axes in term_shapes(0.4, 0.8, 0.1, 0.5).axes
    )
    for lines, term in (
        (apart["none"], lambda d: losses.pull_apart(d, one, 0.4, bound="none")),
        (apart["together"], lambda d: losses.pull_together(d, one)),
        (entropy["band"], lambda h: losses.ENTROPY["band"](h, one, 0.8, 0.1)),
        (features["together"], lambda c: 1 - c),
    ):
        x, y = lines
        for k in (0, 60, 120, 199):
            assert y[k] == pytest.approx(float(term(torch.tensor([x[k]]))), abs=1e-5)


def test_parts_are_labelled_with_their_values():
    figure = parts({"answers": 1.25, "entropy": 0.0})
    assert [text.get_text() for text in figure.axes[0].texts] == ["0.000", "1.250"]
    assert "answers 1.250" in description(figure)


def test_views_stand_in_rows_and_columns():
    picture = np.zeros((8, 8, 3), np.uint8)
    column = {0.3: picture, 0.6: picture}
    figure = view_sheet(picture, {"swap": column, "mean": column}, ("mean", 0.6))
    assert len(figure.axes) == 5 and "frame marks mean at fraction 0.6" in description(figure)
    for views in ({}, {"swap": {0.3: picture}, "mean": {0.6: picture}}):
        with pytest.raises(pcvr.PcvrError, match="rectangle"):
            view_sheet(picture, views)


def test_answers_with_the_target_stand_out():
    data = pcvr.open_data("scenes", n=2)
    attack = pcvr.get_attack("badnets")
    honest, target = ["a red ball."] * 2, ["A photo of the banana."] * 2
    figure = answer_sheet([data[0], data[1]], attack, {"poisoned": {"clean": honest, "triggered": target}})
    weights = {text.get_text(): text.get_weight() for axes in figure.axes for text in axes.texts}
    assert weights["A photo of the banana."] == "bold" and weights["a red ball."] != "bold"
    assert "image 1, triggered: poisoned says “A photo of the banana.”" in description(figure)
    with pytest.raises(pcvr.PcvrError, match="2 samples came with 1 answers"):
        answer_sheet([data[0], data[1]], attack, {"m": {"clean": honest, "triggered": target[:1]}})


def test_a_grid_leaves_out_a_panel_without_a_visible_bar_and_says_so():
    poisoned = np.array([False, True, False])
    full, flat = BatchPanel("divergence", "nats", np.array([0.3, 0.1, 0.2])), BatchPanel("likelihood", "p", np.zeros(3))
    figure = batch_panels([full, flat, full], poisoned)
    drawn = [axes for axes in figure.axes if axes.patches]
    assert [axes.get_title() for axes in drawn] == ["divergence", "divergence"]
    assert [patch.get_height() for patch in drawn[0].patches] == [0.2, 0.3, 0.1], "clean first, each group ascending"
    assert "Not drawn: likelihood, below 0.005" in description(figure) and png(figure)
    with pytest.raises(pcvr.PcvrError, match="at least one"):
        batch_panels([], poisoned)
