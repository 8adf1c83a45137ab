"""Figures of the premise: what is drawn is what was measured, and every figure says so in words."""

import numpy as np
import pytest

import pcvr
from pcvr.analysis.premise import MEASURES
from pcvr.analysis.triggered_pair import greyed, label_divergence, triggered_pair
from pcvr.analysis.two_views import trace_views
from pcvr.evaluation.detection import auroc_error
from pcvr.experiments import results
from pcvr.plots import description, png
from pcvr.plots.premise import flipbook, kinds_figure, pair_square, score_histograms
from pcvr.plots.premise_table import auroc_lines, courses, extremes, operator_maps, premise_picture, steps_of, views_of
from tests.tiny import Numbers

ATTACK = pcvr.get_attack("badnets", target="a red ball")


@pytest.fixture
def samples():
    return [Numbers(3)[i] for i in range(3)]


def row(step, auroc, operator="swap", fraction=0.9, views=1, level="features"):
    rates = dict.fromkeys(MEASURES, 0.5) | {"label": auroc}
    return {"step": step, "operator": operator, "fraction": fraction, "level": level, "views": views, "auroc": rates}


@pytest.fixture
def table():
    runs = []
    for task in ("caption", "vqa"):
        for label, shift in (("badnets", 0.0), ("sig", 0.1)):
            rows = [row(10, 0.6 + shift)]
            rows += [row(20, value + shift, views=v) for v, value in ((1, 0.7), (2, 0.8), (4, 0.85))]
            rows += [row(20, 0.3 + shift, "mean", 0.6), row(20, 0.9, "mean", 0.6, level="pixels"), row(40, 0.5)]
            runs.append(
                {
                    "experiment": {"task": task, "label": label},
                    "scored": {"clean": 400, "poisoned": 100},
                    "premise": rows,
                    "watch": [{"step": s, "hits": s // 10, "n": 8} for s in (10, 20, 40)],
                }
            )
    return results.Table(made_by="x", date="x", versions={}, machine="x", base={}, runs=runs)


class TestTable:
    def test_one_view_of_the_usual_kind_over_steps(self, table):
        points = steps_of(table, "label")["caption"]["sig"]
        assert [(x, y) for x, y, _ in points] == [(10, 0.7), (20, pytest.approx(0.8)), (40, 0.5)]
        assert points[2][2] == pytest.approx(auroc_error(0.5, 400, 100))

    def test_views_where_there_are_several(self, table):
        found = views_of(table, "label")
        assert list(found) == ["caption", "vqa"] and list(found["vqa"]) == ["badnets, step 20", "sig, step 20"]
        assert [(x, y) for x, y, _ in found["vqa"]["badnets, step 20"]] == [(1, 0.7), (2, 0.8), (4, 0.85)]

    def test_the_picture_has_a_line_for_each_attack_above_and_below(self, table):
        figure = premise_picture(table, "label")
        above, _, below, _ = figure.axes
        drawn = [line.get_data() for line in above.lines if line.get_marker() != "None"]
        assert [list(y) for _, y in drawn] == [[0.6, 0.7, 0.5], [0.7, pytest.approx(0.8), 0.5]]
        assert [list(line.get_ydata()) for line in below.lines] == [[1 / 8, 2 / 8, 4 / 8]] * 2
        assert above.get_title() == "caption: label" and png(figure)
        assert [text.get_text() for text in below.get_xticklabels()] == ["10", "20", "40"]
        said = description(figure)
        assert "caption, sig: AUROC 0.70 at step 10, 0.80 at step 20, 0.50 at step 40" in said
        assert "success at the end 50 percent" in said and "for each attack" in said

    def test_the_squares_are_those_of_one_look(self, table):
        figure = operator_maps(table, 20)
        assert [axes.get_title() for axes in figure.axes if axes.axison] == [
            "caption, badnets",
            "caption, sig",
            "vqa, badnets",
            "vqa, sig",
        ]
        assert {text.get_text() for text in figure.axes[1].texts} == {"0.80", "0.40"}
        assert "vqa, badnets: swap 0.9 0.70, mean 0.6 0.30" in description(figure) and png(figure)

    @pytest.mark.parametrize("look", [(40, "features"), (20, "pixels"), (21, "features")])
    def test_looks_without_a_comparison_are_a_sentence(self, table, look):
        with pytest.raises(pcvr.PcvrError, match="compares no operators"):
            operator_maps(table, *look)

    def test_the_course_of_each_attack(self, table):
        found = courses(table, "label")["caption", "sig"]
        assert (found.first, found.best_step, found.last, found.falls) == (0.7, 20, 0.5, ((20, 40),))
        assert found.best == pytest.approx(0.8)
        assert courses(table, "likelihood")["vqa", "badnets"].falls == (), "equal values are no fall"

    def test_the_worst_and_the_best_view(self, table):
        found = extremes(table, 20, "features", "label")["caption", "badnets"]
        assert found == {"worst": ("mean 0.6", 0.3), "best": ("swap 0.9", 0.7)}

    def test_lines_of_ones_own(self):
        figure = auroc_lines({"a": {"x": [(10, 0.9, 0.2), (20, 0.1, 0.3)]}, "b": {"y": [(1, 0.5, 0)]}}, what="for you")
        assert description(figure).startswith("Lines of AUROC over optimiser steps done for you. a, x: 0.90 at 10")
        (ends,) = figure.axes[0].collections
        assert [list(s[:, 1]) for s in ends.get_segments()] == [[pytest.approx(0.7), 1.0], [0.0, pytest.approx(0.4)]]
        one, other = figure.axes[0].lines[0], figure.axes[1].lines[0]
        assert one.get_color() != other.get_color(), "a label has its own colour in all panels"
        with pytest.raises(pcvr.PcvrError, match="nothing to draw"):
            auroc_lines({})
        with pytest.raises(pcvr.PcvrError, match="nothing to draw"):
            auroc_lines({"a": {"x": []}})


class TestPairs:
    def test_the_dark_share_is_the_auroc(self):
        figure = pair_square(np.array([1.0, 2.0, 3.0, 4.0]), np.array([2.5, 2.0]), ("clean", "poisoned"))
        (image,) = figure.axes[0].images
        assert np.asarray(image.get_array()).mean() == pytest.approx(0.5625)  # 4 pairs won, 3 lost, 1 tied
        assert "56.2 percent" in description(figure) and "56.2 %" in figure.axes[0].get_title()
        assert figure.axes[0].get_ylabel().startswith("poisoned samples")

    def test_an_empty_group_is_a_sentence(self):
        with pytest.raises(pcvr.PcvrError, match="at least one"):
            pair_square(np.array([]), np.ones(2))


class TestScores:
    @pytest.mark.parametrize(("low", "most"), [(1e-6, 9), (0.2, 9)])
    def test_many_decades_and_few_alike_have_labels_that_can_be_read(self, low, most):
        figure = score_histograms({"a": {"clean": np.array([low, 0.5]), "poisoned": np.array([low])}})
        figure.draw_without_rendering()
        axes = figure.axes[0]
        left, right = axes.get_xlim()
        shown = [tick for tick in axes.get_xticks() if left <= tick <= right]
        assert 2 <= len(shown) <= most and axes.get_xscale() == "log"


class TestKinds:
    def test_a_row_for_each_kind_and_the_poison_below(self):
        figure = kinds_figure({"is it": np.array([0.1, 0.0]), "how many": np.array([0.4])}, np.array([0.01]), "score")
        axes = figure.axes[0]
        assert [text.get_text() for text in axes.get_yticklabels()] == ["is it … (2)", "how many … (1)", "poisoned (1)"]
        assert min(axes.lines[0].get_xdata()) == 1e-6, "a logarithm needs a floor"
        assert "is it …: median 0.0500, lowest 0, n = 2" in description(figure)

    def test_a_kind_without_scores_is_a_sentence(self):
        with pytest.raises(pcvr.PcvrError, match="no scores"):
            kinds_figure({"is it": np.array([])}, np.ones(1), "score")


class TestTwins:
    def test_views_of_pixels_are_those_of_the_story(self, tiny, samples):
        view = pcvr.PatchView("mean", 0.5)
        found = triggered_pair(tiny, samples, 2, ATTACK, view, [4], force="true")
        for name, worn in (("clean", None), ("triggered", ATTACK)):
            told = trace_views(tiny, [samples[2], samples[0]], view, 4, worn, "true")[0]
            assert np.array_equal(found[name][0].view, told.view) and found[name][0].text == samples[2].answer

    def test_views_of_features_change_the_words_and_veil_their_tokens(self, tiny, samples):
        view = pcvr.PatchView("swap", 0.4, level="features")
        found = triggered_pair(tiny, samples, 0, ATTACK, view, [0, 1], force="true")
        one, other = found["clean"]
        np.testing.assert_allclose(one.original, other.original, atol=1e-6)
        assert not np.allclose(one.view, other.view)
        told = trace_views(tiny, samples[:2], pcvr.PatchView("mean", 0.5), 0, None, "true")[0]
        np.testing.assert_allclose(one.original, told.original, atol=1e-5)  # kept features say the same
        touched = (one.view_image != one.image).any(-1)
        assert 0 < touched.mean() < 1
        again = triggered_pair(tiny, samples, 0, ATTACK, view, [0], force="true")
        assert np.array_equal((again["triggered"][0].view_image != again["triggered"][0].image).any(-1), touched)

    def test_the_veil_lies_where_the_tokens_are(self):
        picture = np.zeros((4, 4, 3), dtype=np.uint8)
        for front in ([], [True]):  # without and with a class token
            veiled = greyed(picture, np.array([*front, False, True, False, False]))
            assert veiled[:2, 2:].min() > 90 and veiled.sum() == veiled[:2, 2:].sum()
        assert np.array_equal(greyed(picture, np.ones(7, dtype=bool)), picture)

    def test_the_told_divergence_by_hand(self, tiny, samples):
        told = triggered_pair(tiny, samples, 0, ATTACK, pcvr.PatchView("noise", 0.7), force="true")["clean"][0]
        at = [told.words.index(word) for word in told.tokens]
        want = []
        for t, k in enumerate(at):
            p, q = (np.array([d[t, k], 1 - d[t, k]], dtype=float) for d in (told.original, told.view))
            m = (p + q) / 2
            want.append((p * np.log(p / m) + q * np.log(q / m)).sum() / 2)
        np.testing.assert_allclose(label_divergence(told), want, atol=1e-5)
        assert (label_divergence(told) <= told.divergence + 1e-6).all(), "merging words never tells more"

    @pytest.mark.parametrize("pick", [-1, 3])
    def test_a_picture_that_is_not_there_is_a_sentence(self, tiny, samples, pick):
        with pytest.raises(pcvr.PcvrError, match="at least two samples"):
            triggered_pair(tiny, samples, pick, ATTACK, pcvr.PatchView())

    def test_a_flipbook_shows_each_view_and_its_words(self, tiny, samples):
        found = triggered_pair(tiny, samples, 0, ATTACK, pcvr.PatchView("noise", 0.7), [0, 1], force="true")
        figure = flipbook({"clean picture": found["clean"], "triggered picture": found["triggered"]}, top=3)
        clean = found["clean"]
        token = int(np.mean([t.divergence for t in clean], axis=0).argmax())
        bars = figure.subfigs[0].axes[3]  # under the original
        order = np.argsort(-np.max([clean[0].original[token], *(t.view[token] for t in clean)], axis=0), kind="stable")
        widths = [patch.get_width() for patch in bars.patches]
        np.testing.assert_allclose(widths, clean[0].original[token, order[:3]])
        titles = [axes.get_title() for axes in figure.subfigs[0].axes[:3]]
        assert titles == ["original", *(f"{t.divergence.sum():.2f} nats" for t in clean)]
        assert f"clean picture, answer “{clean[0].text}”, token {token + 1} of {len(clean[0].tokens)}" in description(
            figure
        )

    @pytest.mark.parametrize("rows", [{}, {"a": []}])
    def test_an_empty_flipbook_is_a_sentence(self, rows):
        with pytest.raises(pcvr.PcvrError, match="at least one"):
            flipbook(rows)
