"""A redraw says at once that it works, and shows nothing before everything is drawn."""

from __future__ import annotations

from threading import Thread
from time import sleep
from typing import Any

import ipywidgets as widgets
import pytest
from matplotlib.figure import Figure

from pcvr.plots.describe import described
from pcvr.widgets.page import OLD, on_page
from pcvr.widgets.picture import figure_image
from pcvr.widgets.redraw import WORKING, View, on_change, redrawing


def figure(text: str) -> Figure:
    return described(Figure(figsize=(1, 1)), text)


@pytest.fixture
def parts() -> tuple[Any, Any, Any]:
    return widgets.HTML('<div role="status">old</div>'), figure_image(figure("a")), figure_image(figure("b"))


def faded(image: Any) -> bool:
    return OLD in image._dom_classes


def test_it_works_first_and_then_everything_changes_together(parts: tuple[Any, Any, Any]) -> None:
    message, *images = parts
    before = [image.value for image in images]
    said: list[str] = []

    def draw() -> View:
        said.append(message.value)
        assert all(faded(image) for image in images)
        return View("new", (figure("c"), figure("d")))

    message.observe(lambda change: said.append(images[1].tooltip), "value")
    redrawing(draw, message, *images)(None)
    assert said == ["b", said[1], "d"], "the text changes after the last picture"
    assert WORKING in said[1] and said[1].count("role=") == 1 and "old" in said[1]
    assert [image.value for image in images] != before and not any(faded(image) for image in images)
    assert message.value == "new"


def test_an_image_may_stay_old_or_go(parts: tuple[Any, Any, Any]) -> None:
    message, first, second = parts
    redrawing(lambda: View("no picture yet", (None,)), message, first, second)(None)
    assert first.layout.display == "none" and second.layout.display is None and faded(second)
    redrawing(lambda: View("both", (figure("c"), figure("d"))), message, first, second)(None)
    assert first.layout.display is None and not faded(second)


def test_a_figure_that_cannot_be_drawn_leaves_no_half(
    parts: tuple[Any, Any, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    message, first, second = parts
    before = first.value
    broken = figure("broken")
    monkeypatch.setattr(broken, "savefig", lambda *_, **__: 1 / 0)
    redrawing(lambda: View("new", (figure("c"), broken)), message, first, second)(None)
    assert first.value == before and 'role="alert"' in message.value and first.layout.display == "none"


def test_a_control_that_the_drawing_moves_does_not_draw_again(parts: tuple[Any, Any, Any]) -> None:
    message, image, _ = parts
    slider, drawn = widgets.IntSlider(3, 0, 9), []

    def draw() -> View:
        slider.max = 2
        drawn.append(slider.value)
        return View(str(slider.value), (figure("c"),))

    on_change([slider], redrawing(draw, message, image))
    slider.value = 5
    assert drawn == [2] and message.value == "2"


def test_a_change_in_another_thread_waits_and_is_drawn(parts: tuple[Any, Any, Any]) -> None:
    message, image, _ = parts
    slider, drawn = widgets.IntSlider(0, 0, 9), []
    user = Thread(target=lambda: setattr(slider, "value", 7))

    def draw() -> View:
        drawn.append(slider.value)
        if len(drawn) == 1:
            user.start()
            while slider.value != 7:
                sleep(0.01)
        return View(str(drawn[-1]), (figure("c"),))

    on_change([slider], redrawing(draw, message, image))
    slider.value = 3
    user.join()
    assert drawn == [3, 7] and message.value == "7"


def test_a_box_brings_its_manners() -> None:
    slider = widgets.IntSlider(description="Size")
    box = on_page(slider)
    script = box.children[-1].value
    assert box.children[0] is slider and "pcvr-widget" in box._dom_classes
    assert "aria-label" in script and "data-lm-suppress-shortcuts" in script
