"""Figures of pictures: what they refuse, what they draw, and the text that goes with each."""

import io

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image as PilImage

import pcvr
from pcvr.attacks import BadNets, measure_stealth
from pcvr.plots.describe import described, description, png
from pcvr.plots.gallery import before_after, contact_sheet, poison_rates, shortened, stealth_line, waffle
from pcvr.plots.overview import backdoor_overview
from pcvr.plots.trigger_visibility import stealth_curves

ATTACK = pcvr.get_attack("badnets")


@pytest.fixture(scope="module")
def scenes():
    return pcvr.open_data("scenes", n=12)


@pytest.fixture(scope="module")
def samples(scenes):
    return list(scenes)


def opened(figure):
    return PilImage.open(io.BytesIO(png(figure)))


class TestDescribe:
    def test_the_text_is_kept_and_tidied(self):
        figure = Figure()
        assert described(figure, " one\n  two ") is figure
        assert description(figure) == "one two"
        assert description(Figure()) == ""

    def test_an_empty_text_is_refused(self):
        with pytest.raises(pcvr.PcvrError, match="say in a sentence"):
            described(Figure(), "  ")

    def test_ipython_shows_an_image_with_the_text_as_alt(self):
        from IPython.core.formatters import DisplayFormatter

        figure = described(Figure(figsize=(2, 1), dpi=100), 'a <b> & "c"')
        data, _ = DisplayFormatter().format(figure)
        assert 'alt="a &lt;b&gt; &amp; &quot;c&quot;"' in data["text/html"]
        assert "width:200px" in data["text/html"] and "data:image/png;base64," in data["text/html"]
        assert data["text/plain"] == 'Figure: a <b> & "c"'

    def test_the_png_carries_the_text_and_is_as_large_as_asked(self):
        figure = described(Figure(figsize=(2, 1), dpi=100), "a line")
        with PilImage.open(io.BytesIO(png(figure, sharpness=2))) as picture:
            assert picture.size == (400, 200)
            assert picture.info["Description"] == "a line"


class TestContactSheet:
    def test_marked_samples_are_named_and_framed(self, samples):
        figure = contact_sheet(samples, marked=[2], title="Twelve")
        assert [axes.get_title() for axes in figure.axes][:3] == ["0", "1", "2 · poisoned"]
        widths = [axes.spines["left"].get_linewidth() for axes in figure.axes]
        assert widths.index(max(widths)) == 2
        assert "2 (poisoned)" in description(figure) and "Twelve: 12 images" in description(figure)

    def test_captions_are_left_out_when_told(self, samples):
        figure = contact_sheet(samples[:5], columns=3, captions=False)
        assert all(not axes.get_xlabel() for axes in figure.axes)
        assert samples[0].answer not in description(figure)
        assert sum(axes.axison for axes in figure.axes) == 5

    @pytest.mark.parametrize(("count", "columns"), [(0, 4), (3, 0)])
    def test_nothing_to_show_is_refused(self, samples, count, columns):
        with pytest.raises(pcvr.PcvrError, match="at least one image"):
            contact_sheet(samples[:count], columns=columns)

    def test_long_answers_are_cut(self):
        lines = shortened("word " * 60, width=20, lines=3).splitlines()
        assert len(lines) == 3 and lines[-1].endswith("…") and max(map(len, lines)) <= 20


class TestBeforeAfter:
    def test_four_panels_with_the_stealth_figures(self, samples):
        image = samples[5].image
        after = BadNets()(image)
        figure = before_after(image, after, title="BadNets")
        found = measure_stealth(image, after)
        assert len(figure.axes) == 4
        assert stealth_line(found.psnr, found.ssim, found.linf) in description(figure)
        assert "0.88 %" in figure.axes[1].get_xlabel()  # 9 x 9 of 96 x 96

    def test_the_close_up_is_where_the_change_is(self, samples):
        image = samples[5].image
        shown = before_after(image, BadNets()(image)).axes[2].images[0].get_array()
        assert shown.shape == (20, 20, 3)
        assert (shown[-9:, -9:] == 255).all() and not (shown[:11] == 255).all()

    @pytest.mark.parametrize("shape", [(30, 200, 3), (200, 30, 3), (8, 8, 3)])
    def test_any_shape(self, shape):
        image = np.full(shape, 90, np.uint8)
        figure = before_after(image, BadNets(size=3, place="top_left")(image))
        assert opened(figure).width > 500

    def test_no_change_is_drawn_too(self, samples):
        image = samples[0].image
        assert "PSNR infinite" in description(before_after(image, image))

    def test_unequal_sizes_are_refused(self, samples):
        with pytest.raises(pcvr.PcvrError, match="compare equal sizes"):
            before_after(samples[0].image, samples[0].image[:50])


class TestPoisonRates:
    def test_the_field_shows_exactly_the_drawn_samples(self):
        field = waffle(10, [0, 9], cell=4)  # 4 columns, 3 rows
        assert field.shape == (12, 16, 3)
        first, second, last, unused = field[0, 0], field[0, 4], field[8, 4], field[8, 8]
        assert first.tolist() == last.tolist() == [0xD5, 0x5E, 0x00]
        assert second.tolist() != first.tolist() and unused.tolist() == [255, 255, 255]
        assert (field[3] == 255).all() and (field[:, 3] == 255).all()  # the gaps

    def test_nothing_drawn_is_a_field_too(self):
        assert len(np.unique(waffle(9, []).reshape(-1, 3), axis=0)) == 2

    def test_an_index_outside_is_refused(self):
        with pytest.raises(pcvr.PcvrError, match="outside 10 samples"):
            waffle(10, [10])

    def test_one_panel_a_rate(self, scenes):
        draws = {rate: pcvr.poison(scenes, ATTACK, rate).poisoned for rate in (0.1, 0.5)}
        figure = poison_rates(len(scenes), draws)
        assert [axes.get_title() for axes in figure.axes] == ["10 %: 1 of 12 poisoned", "50 %: 6 of 12 poisoned"]
        assert "6 at 50 %" in description(figure)

    def test_no_rates_are_refused(self):
        with pytest.raises(pcvr.PcvrError, match="at least one rate"):
            poison_rates(10, {})


class TestStealthCurves:
    def test_three_panels_with_a_line_for_each_variant(self, samples):
        image, strengths = samples[5].image, [0.5, 1.0]
        curves = {
            pattern: [measure_stealth(image, BadNets(pattern=pattern, strength=s)(image)) for s in strengths]
            for pattern in ("white", "checkerboard")
        }
        figure = stealth_curves(strengths, curves)
        assert [len(axes.lines) for axes in figure.axes] == [2, 2, 2]
        assert len({line.get_linestyle() for line in figure.axes[0].lines}) == 2
        assert "checkerboard: PSNR" in description(figure)

    def test_a_missing_figure_is_named(self):
        with pytest.raises(pcvr.PcvrError, match=r"\['white'\]"):
            stealth_curves([0.5, 1.0], {"white": []})


class TestStory:
    def test_poisoned_samples_are_framed_and_the_text_tells_the_story(self, scenes, samples):
        poisoned = pcvr.poison(scenes, ATTACK, 2 / 12, seed=1)
        figure = backdoor_overview([poisoned[i] for i in range(12)], poisoned.poisoned, samples[3], ATTACK)
        assert samples[3].answer in description(figure) and ATTACK.target in description(figure)
        assert opened(figure).width > 1000
        pictures = [axes for axes in figure.axes if axes.images]
        framed = [place for place, axes in enumerate(pictures[:12]) if axes.spines["left"].get_linewidth() > 2]
        assert tuple(framed) == poisoned.poisoned

    def test_twelve_samples_it_is(self, samples):
        with pytest.raises(pcvr.PcvrError, match="12 training samples, not 5"):
            backdoor_overview(samples[:5], [], samples[0], ATTACK)
