"""Whatever fails in a callback is said where the answer would stand, and nothing old stays beside it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

import pcvr
from pcvr import PcvrError, VisionLanguageModel
from pcvr.analysis.attention import attend
from pcvr.experiments.grid import Grid
from pcvr.widgets.ask import ask_widget
from pcvr.widgets.attack_lab import lab_explorer
from pcvr.widgets.attend import attention_explorer
from pcvr.widgets.distributions import DistributionChoice, TraceSource, distribution_explorer
from pcvr.widgets.explained import alert
from pcvr.widgets.explorer import grid_explorer
from pcvr.widgets.explorer_source import GridSource
from pcvr.widgets.live import live_training
from pcvr.widgets.premise import PairSource, premise_explorer
from pcvr.widgets.trigger import trigger_explorer
from tests import points
from tests.tiny import Numbers, tiny, tiny_folder

__all__ = ["tiny", "tiny_folder"]
ATTACK = pcvr.get_attack("badnets", target="a red ball")


def samples() -> list[pcvr.Sample]:
    data = Numbers(3, answers=("two cats and a red ball .", "yes"))
    return [data[i] for i in range(3)]


def moved(control: str, value: Any) -> Callable[[Any], None]:
    return lambda controls: setattr(getattr(controls, control), "value", value)


def seen(tiny: VisionLanguageModel) -> Any:
    return attention_explorer([attend(tiny, samples()[0].image, "list the objects.", "a red ball .")])[1]


def asked(controls: Any) -> None:
    controls.button.click()


def first_knob(controls: Any) -> None:
    slider = next(iter(controls.knobs.values()))
    slider.index = (slider.index + 1) % len(slider.options)


WIDGETS: dict[str, tuple[Callable[[Any], Any], str, Callable[[Any], None], str, tuple[str, ...]]] = {
    "trigger": (
        lambda tiny: trigger_explorer(pcvr.open_data("scenes", n=4))[1],
        "pcvr.widgets.trigger.trigger_view", moved("sample", 2), "status", ("picture",),
    ),
    "lab": (
        lambda tiny: lab_explorer(pcvr.open_data("scenes", n=2))[1],
        "pcvr.widgets.attack_lab.lab_view", moved("sample", 1), "status", ("picture",),
    ),
    "premise": (
        lambda tiny: premise_explorer(PairSource(tiny, samples(), ATTACK))[1],
        "pcvr.widgets.premise.premise_figure", moved("seed", 5), "message", ("image",),
    ),
    "attention": (seen, "pcvr.widgets.attend.attention_view", moved("token", 2), "message", ("image",)),
    "distributions": (
        lambda tiny: distribution_explorer(
            TraceSource({"base": tiny}, samples(), ATTACK), DistributionChoice("base")
        )[1],
        "pcvr.widgets.distributions.distribution_figure", moved("seed", 5), "message", ("image",),
    ),
    "answer": (lambda tiny: ask_widget(tiny)[1], "pcvr.widgets.ask.ask", asked, "message", ("image",)),
    "drawing": (
        lambda tiny: ask_widget(tiny)[1],
        "pcvr.widgets.ask.preview_figure", moved("tones", 9), "message", ("image", "preview"),
    ),
    "grid": (
        lambda tiny: grid_explorer(GridSource(points.grid()))[1],
        "pcvr.widgets.explorer.grid_caption", first_knob, "caption", ("scatter", "curves", "distributions"),
    ),
    "training": (
        lambda tiny: live_training(tiny, Numbers(4))[1],
        "pcvr.widgets.live.training_status", lambda controls: controls.refresh(), "status", ("picture",),
    ),
}  # fmt: skip


@pytest.mark.parametrize("error", [RuntimeError("<b>gone</b> [/x]"), PcvrError("the <b>data</b> are gone.")])
@pytest.mark.parametrize("name", WIDGETS)
def test_the_message_takes_the_place_of_what_was_said(
    tiny: VisionLanguageModel, monkeypatch: pytest.MonkeyPatch, name: str, error: Exception
) -> None:
    build, broken, act, message, images = WIDGETS[name]
    controls = build(tiny)
    before = getattr(controls, message).value
    assert before and all(getattr(controls, image).layout.display != "none" for image in images)

    def fail(*_: Any, **__: Any) -> Any:
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(broken, fail)
        act(controls)
    said = getattr(controls, message).value
    assert 'role="alert"' in said and before not in said
    assert "&lt;b&gt;" in said and "<b>gone" not in said and "<b>data" not in said
    assert ("Traceback" in said) == isinstance(error, RuntimeError)
    assert all(getattr(controls, image).layout.display == "none" for image in images)


def test_what_works_again_is_seen_again(tiny: VisionLanguageModel, monkeypatch: pytest.MonkeyPatch) -> None:
    controls = ask_widget(tiny)[1]
    with monkeypatch.context() as patch:
        patch.setattr("pcvr.widgets.ask.attend", lambda *_: 1 / 0)
        controls.button.click()
    assert "ZeroDivisionError" in controls.message.value and "Answer" not in controls.message.value
    controls.button.click()
    assert "Answer" in controls.message.value and controls.image.layout.display is None


def test_an_interruption_goes_through(tiny: VisionLanguageModel, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(*_: Any) -> Any:
        raise KeyboardInterrupt

    controls = grid_explorer(GridSource(Grid(points.grid().points, points.grid().references)))[1]
    monkeypatch.setattr("pcvr.widgets.explorer.grid_caption", stop)
    with pytest.raises(KeyboardInterrupt):
        controls.redraw()


def test_a_failed_training_says_why_and_where(tiny: VisionLanguageModel) -> None:
    said = alert(ValueError("no <such> thing"))
    assert "ValueError: no &lt;such&gt; thing" in said and "<details>" in said
