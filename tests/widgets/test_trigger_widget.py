"""The trigger explorer without a kernel: its callback as a function, and its controls set from code."""

import io

import numpy as np
import pytest
from PIL import Image as PilImage

import pcvr
from pcvr.attacks import measure_stealth
from pcvr.plots import description
from pcvr.widgets.picture import figure_image, show_in
from pcvr.widgets.trigger import trigger_explorer, trigger_view


@pytest.fixture(scope="module")
def scenes():
    return pcvr.open_data("scenes", n=20)


def pixels(image):
    with PilImage.open(io.BytesIO(bytes(image.value))) as picture:
        return np.asarray(picture.convert("RGB"))


class TestView:
    def test_the_figures_are_those_of_the_package(self, scenes):
        figure, figures = trigger_view(scenes, 3, strength=0.5, rate=0.25, seed=2)
        attack = pcvr.get_attack("badnets", strength=0.5)
        measured = measure_stealth(scenes[3].image, attack.triggered(scenes[3]).image)
        assert (figures["psnr"], figures["ssim"], figures["linf"]) == (measured.psnr, measured.ssim, measured.linf)
        assert figures["poisoned"] == pcvr.poison(scenes, attack, 0.25, seed=2).poisoned
        assert figures["drawn"] == (3 in figures["poisoned"]) and figures["problem"] == ""
        assert "5 of 20 poisoned" in description(figure)

    def test_weaker_is_better_hidden(self, scenes):
        full, half = (trigger_view(scenes, 0, strength=s)[1] for s in (1.0, 0.5))
        assert full["psnr"] < half["psnr"] and full["linf"] > half["linf"] and full["changed"] == half["changed"]

    def test_strength_zero_is_refused_in_a_sentence_and_still_drawn(self, scenes):
        figure, figures = trigger_view(scenes, strength=0.0)
        assert "unchanged" in figures["problem"] and figures["poisoned"] == () and figures["changed"] == 0
        assert "no sample could be poisoned" in description(figure)

    def test_a_rate_that_poisons_none_is_refused_in_a_sentence(self, scenes):
        assert "poisons none" in trigger_view(scenes, rate=0.01)[1]["problem"]

    @pytest.mark.parametrize("options", [{"size": 97}, {"place": "left"}, {"pattern": "stripes"}, {"strength": 2.0}])
    def test_what_cannot_be_drawn_is_an_error(self, scenes, options):
        with pytest.raises(pcvr.PcvrError):
            trigger_view(scenes, **options)


class TestPicture:
    def test_it_takes_png_size_and_text_from_the_figure(self, scenes):
        first, second = (trigger_view(scenes, i)[0] for i in (0, 1))
        image = figure_image(first)
        before = image.value
        assert image.format == "png" and bytes(image.value)[1:4] == b"PNG" and image.tooltip == description(first)
        show_in(image, second)
        assert image.value != before and image.tooltip == description(second)
        assert image.description == "", "without one, the page shows a JavaScript error instead of the picture"
        assert image.layout.width == f"{round(second.get_figwidth() * second.dpi)}px"


class TestExplorer:
    @pytest.mark.parametrize(
        ("control", "value"),
        [
            ("sample", 7),
            ("strength", 0.4),
            ("size", 20),
            ("place", "centre"),
            ("pattern", "checkerboard"),
            ("rate", 30.0),
            ("seed", 4),
        ],
    )
    def test_every_control_changes_the_picture(self, scenes, control, value):
        _, controls = trigger_explorer(scenes)
        before = pixels(controls.picture)
        getattr(controls, control).value = value
        assert (pixels(controls.picture) != before).any()

    def test_the_picture_is_the_callbacks(self, scenes):
        _, controls = trigger_explorer(scenes)
        controls.strength.value, controls.sample.value = 0.3, 5
        _, figures = trigger_view(scenes, 5, strength=0.3)
        assert f"<b>{figures['psnr']:.1f} dB</b>" in controls.status.value
        assert "PSNR" in controls.picture.tooltip

    def test_a_refusal_stands_below_the_picture_and_goes_away_again(self, scenes):
        _, controls = trigger_explorer(scenes)
        controls.strength.value = 0
        assert 'role="alert"' in controls.status.value and "unchanged" in controls.status.value
        controls.strength.value = 1
        assert 'role="status"' in controls.status.value

    def test_what_cannot_be_drawn_leaves_the_last_picture(self, scenes):
        _, controls = trigger_explorer(scenes)
        before = controls.picture.value
        controls.size.max = 500
        controls.size.value = 200
        assert controls.picture.value == before
        assert "does not fit" in controls.status.value

    def test_every_control_has_a_label_and_waits_for_the_hand_to_stop(self, scenes):
        box, controls = trigger_explorer(scenes)
        moved = (controls.sample, controls.strength, controls.size, controls.rate, controls.seed)
        assert all(slider.continuous_update is False for slider in moved)
        labels = [each.description for each in (*moved, controls.place, controls.pattern)]
        assert all(labels) and len(set(labels)) == len(labels)
        assert controls.picture in box.children and controls.status in box.children
