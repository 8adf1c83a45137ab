"""The explorer of views without a kernel: its callback as a function, and its controls set from code."""

from dataclasses import replace

import numpy as np
import pytest

import pcvr
from pcvr.analysis.triggered_pair import label_divergence, triggered_pair
from pcvr.plots import description
from pcvr.widgets.premise import VIEWS, PairSource, PremiseChoice, premise_caption, premise_explorer, premise_figure
from tests.tiny import Numbers, tiny, tiny_folder  # noqa: F401

ATTACK = pcvr.get_attack("badnets", target="a red ball")


@pytest.fixture
def source(tiny):  # noqa: F811
    data = Numbers(3, answers=("two cats and a red ball .", "yes"))
    return PairSource(tiny, [data[i] for i in range(3)], ATTACK)


@pytest.mark.parametrize("level", ["pixels", "features"])
def test_the_figures_are_those_of_the_package(source, tiny, level):  # noqa: F811
    choice = PremiseChoice(sample=1, operator="mean", fraction=0.5, level=level, seed=3)
    told = triggered_pair(tiny, source.samples, 1, ATTACK, pcvr.PatchView("mean", 0.5, level=level), [3, 4, 5])
    found = source.traces(choice)
    assert [len(found[name]) for name in ("clean", "triggered")] == [VIEWS, VIEWS]
    assert np.array_equal(found["triggered"][2].view, told["triggered"][2].view)
    for name in ("clean", "triggered"):
        whole = np.mean([t.divergence.sum() for t in told[name]])
        word = np.mean([label_divergence(t).sum() for t in told[name]])
        assert f"{name}: {whole:.3f} nats by all words, {word:.3f} nats" in premise_caption(source, choice)
    assert "triggered image, answer" in description(premise_figure(source, choice))


def test_what_was_computed_lately_is_kept(source):
    assert source.traces(PremiseChoice()) is source.traces(PremiseChoice())
    assert source.traces(PremiseChoice()) is not source.traces(PremiseChoice(seed=1))


@pytest.mark.parametrize("wrong", [{"sample": 3}, {"operator": "swop"}, {"fraction": 0.0}, {"level": "words"}])
def test_what_there_is_not_is_a_sentence(source, wrong):
    with pytest.raises(pcvr.PcvrError):
        premise_figure(source, replace(PremiseChoice(), **wrong))


def test_a_source_needs_two_pictures(source, tiny):  # noqa: F811
    with pytest.raises(pcvr.PcvrError, match="two or more"):
        PairSource(tiny, source.samples[:1], ATTACK)


def test_every_control_redraws(source):
    _, controls = premise_explorer(source)
    moves = {"sample": 3, "operator": "mean", "fraction": 0.2, "level": "features", "seed": 7}
    for name, value in moves.items():
        before = controls.image.value
        getattr(controls, name).value = value
        assert controls.image.value != before, name
        assert 'role="status"' in controls.message.value
    assert controls.choice() == PremiseChoice(2, "mean", 0.2, "features", 7)
    assert controls.image.tooltip == description(premise_figure(source, controls.choice()))


def test_an_error_is_shown_and_not_swallowed(source, monkeypatch):
    _, controls = premise_explorer(source, PremiseChoice(fraction=0.3))
    assert controls.choice() == PremiseChoice(fraction=0.3)
    monkeypatch.setattr(source, "traces", lambda choice: (_ for _ in ()).throw(pcvr.PcvrError("no <such> view")))
    controls.seed.value = 2
    assert 'role="alert"' in controls.message.value and "no &lt;such&gt; view" in controls.message.value


def test_sliders_wait_until_they_are_let_go_and_every_control_has_its_name(source):
    _, controls = premise_explorer(source)
    assert not any(slider.continuous_update for slider in (controls.sample, controls.fraction, controls.seed))
    names = [getattr(controls, name).description for name in ("sample", "operator", "fraction", "level", "seed")]
    assert all(names) and len(set(names)) == 5
