"""The distribution explorer without a kernel: its callback as a function, and its controls set from code."""

from dataclasses import replace

import numpy as np
import pytest

import pcvr
from pcvr.analysis.two_views import trace_views
from pcvr.plots import description
from pcvr.widgets.distributions import (
    DistributionChoice,
    TraceSource,
    distribution_caption,
    distribution_explorer,
    distribution_figure,
)
from tests.tiny import Numbers, tiny, tiny_folder  # noqa: F401

ATTACK = pcvr.get_attack("badnets", target="a red ball")


@pytest.fixture
def source(tiny):  # noqa: F811
    data = Numbers(4, answers=("two cats and a red ball .", "yes"))
    return TraceSource({"base": tiny, "other": tiny}, [data[i] for i in range(4)], ATTACK)


class TestChoice:
    def test_the_telling_is_that_of_the_story(self, source, tiny):  # noqa: F811
        choice = DistributionChoice(
            "base", sample=2, shown="triggered", operator="noise", fraction=0.5, seed=3, force="true"
        )
        told = trace_views(tiny, source.samples, pcvr.PatchView("noise", 0.5), 3, ATTACK, "true")[2]
        assert source.trace(choice).text == told.text
        assert np.array_equal(source.trace(choice).view, told.view)
        assert f"{told.divergence.mean():.3f} nats" in distribution_caption(source, choice)

    def test_what_was_told_lately_is_kept(self, source):
        choice = DistributionChoice("base")
        assert source.trace(choice) is source.trace(replace(choice, token=3))
        assert source.trace(choice) is not source.trace(replace(choice, seed=1))

    def test_the_figure_names_the_choice_and_stops_at_the_last_token(self, source):
        choice = DistributionChoice("other", sample=1, shown="clean", force="target", token=99)
        said = description(distribution_figure(source, choice))
        assert "other model, clean image 2" in said and "token 4 of 4" in said

    @pytest.mark.parametrize(
        "wrong", [{"stage": "bas"}, {"sample": 4}, {"shown": "poisoned"}, {"operator": "swop"}, {"force": "mine"}]
    )
    def test_what_there_is_not_is_a_sentence(self, source, wrong):
        with pytest.raises(pcvr.PcvrError):
            distribution_figure(source, replace(DistributionChoice("base"), **wrong))

    def test_a_source_needs_two_pictures(self, source, tiny):  # noqa: F811
        with pytest.raises(pcvr.PcvrError, match="two images"):
            TraceSource({"base": tiny}, source.samples[:1], ATTACK)


class TestControls:
    @pytest.mark.parametrize(
        ("name", "value"),
        [("sample", 3), ("shown", "clean"), ("operator", "mean"), ("fraction", 0.2), ("seed", 7), ("force", "true")],
    )
    def test_every_control_redraws(self, source, name, value):
        _, controls = distribution_explorer(source, DistributionChoice("base", force="target"))
        before = controls.image.value
        getattr(controls, name).value = value
        assert controls.image.value != before
        assert controls.image.tooltip == description(distribution_figure(source, controls.choice()))
        assert 'role="status"' in controls.message.value

    def test_the_token_slider_follows_the_answer(self, source):
        _, controls = distribution_explorer(source, DistributionChoice("base", force="true"))
        long = controls.token.max
        assert long == len(source.trace(controls.choice()).tokens)
        controls.token.value = long
        controls.force.value = "target"  # four tokens
        assert controls.token.max == controls.token.value == 4 < long
        assert "token 4 of 4" in controls.image.tooltip
        before = controls.image.value
        controls.token.value = 1
        assert controls.image.value != before

    def test_stages_are_the_models(self, source):
        _, controls = distribution_explorer(source)
        assert controls.stage.options == ("base", "other")
        controls.stage.value = "other"
        assert "other model, triggered image 1" in controls.image.tooltip

    def test_an_error_is_shown_and_not_swallowed(self, source, monkeypatch):
        _, controls = distribution_explorer(source)
        monkeypatch.setattr(source, "_traces", lambda choice: (_ for _ in ()).throw(pcvr.PcvrError("no <such> view")))
        controls.seed.value = 2
        assert 'role="alert"' in controls.message.value and "no &lt;such&gt; view" in controls.message.value

    def test_sliders_wait_until_they_are_let_go(self, source):
        _, controls = distribution_explorer(source)
        assert not any(s.continuous_update for s in (controls.sample, controls.fraction, controls.seed, controls.token))
        names = [w.description for w in (controls.stage, controls.sample, controls.shown, controls.operator)]
        assert all(names) and len(set(names)) == 4
