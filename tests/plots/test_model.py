"""Figures of notebook 01: what is drawn, what their texts say, and what is refused."""

import io

import numpy as np
import pytest
from PIL import Image as PilImage

import pcvr
from pcvr.analysis.anatomy import Anatomy, anatomy, block_links, likeness, nearest_words, tower_layers
from pcvr.analysis.decoding import decode_steps, model_input
from pcvr.analysis.question_accuracy import Grade, bare_words, kind_of, question_accuracy, usual_question
from pcvr.data.scenes import KINDS, Scenes
from pcvr.plots import description
from pcvr.plots.attention import (
    attention_maps,
    beside_occlusion,
    covering_figure,
    head_maps,
    one_word,
    share_bars,
    spotlight,
)
from pcvr.plots.connectors import connector_figure, query_figure
from pcvr.plots.decoding import accuracy_bars, decoding_bars
from pcvr.plots.describe import png
from pcvr.plots.model import cell_of, likeness_figure, patch_figure, token_strip, word_map
from tests.looking import ANSWER, PROMPT, picture, told

__all__ = ["told"]


def drawn(figure):
    """Draw it, for much only goes wrong there; returns its text."""
    with PilImage.open(io.BytesIO(png(figure))) as image:
        assert min(image.size) > 100
    return description(figure)


class TestModel:
    def test_a_strip_has_a_box_for_each_token(self, tiny):
        asked = model_input(tiny, picture(0), PROMPT)
        figure = token_strip(asked, columns=5)
        said = drawn(figure)
        assert len(figure.axes[0].patches) == len(asked.tokens)
        words = [text.get_text() for text in figure.axes[0].texts]
        assert {"image 1", "image 9", "list", "objects"} <= set(words) and "image 10" not in words
        assert "9 image tokens" in said and "list the objects" in said
        with pytest.raises(pcvr.PcvrError, match="at least 1"):
            token_strip(asked, columns=0)

    def test_a_patch_is_cut_out_of_its_place(self, tiny):
        image = picture(0)
        assert np.array_equal(cell_of(image, (3, 3), (1, 2)), image[16:32, 32:])
        said = drawn(patch_figure(image, (3, 3), (1, 2), tower_layers(tiny, image)[-1][1, 2]))
        assert "row 2, column 3" in said and "768 levels" in said and "32 numbers" in said
        with pytest.raises(pcvr.PcvrError, match="not in a grid"):
            cell_of(image, (3, 3), (3, 0))

    def test_likeness_is_written_into_the_cells(self, tiny):
        layers = tower_layers(tiny, picture(0))
        maps = {"first": likeness(layers[0], (0, 0)), "last": likeness(layers[-1], (0, 0))}
        figure = likeness_figure(picture(0), (0, 0), maps)
        assert "row 1, column 1" in drawn(figure)
        assert figure.axes[1].texts[0].get_text() == "1.0" and len(figure.axes[2].texts) == 9
        with pytest.raises(pcvr.PcvrError, match="nothing to draw"):
            likeness_figure(picture(0), (0, 0), {})

    def test_words_stand_where_they_lie_near(self, tiny):
        near = np.linspace(0, 1, 9)
        figure = word_map(picture(0), (3, 3), [(list("abcdefghi"), near), (list("ABCDEFGHI"), near)])
        said = drawn(figure)
        assert [text.get_text() for text in figure.axes[1].texts] == ["E\ne", "F\nf", "G\ng", "H\nh", "I\ni"]
        assert "row 3 column 3 I i" in said and "other 4 cells" in said
        words, found = nearest_words(tiny, picture(0), list(KINDS))
        drawn(word_map(picture(0), (3, 3), [(words, found)]))
        with pytest.raises(pcvr.PcvrError, match="needs 9 words"):
            word_map(picture(0), (3, 3), [(words[:4], found[:4])])


class TestConnectors:
    def shape(self, kind, links):
        return Anatomy(
            name=f"a-{kind}",
            connector=kind,
            image=picture(0),
            patch_px=12,
            grid=(4, 4),
            tower=(17, 32),
            image_tokens=(len(links), 32),
            merge=1,
            links=links,
            parameters={"tower": 10, "connector": 20, "language model": 30},
            vocabulary=400,
        )

    def test_each_model_has_a_panel_with_its_own_numbers(self, tiny):
        models = [
            anatomy(tiny, picture(0)),
            self.shape("queries", np.full((5, 16), 1 / 16, np.float32)),
            self.shape("shuffle", block_links((4, 4), 2)),
        ]
        figure = connector_figure(models)
        said = drawn(figure)
        assert "9 image tokens" in said and "5 image tokens" in said and "Q-Former" in said
        lines = [axes.collections[-1] for axes in figure.axes]
        assert [len(each.get_segments()) for each in lines] == [9, 80, 16]
        for each in lines:  # between two rows of squares, where no square hides them
            tops, ends = np.array(each.get_segments())[:, :, 1].T
            assert len(set(tops)) == len(set(ends)) == 1 and tops[0] > ends[0]
        words = {text.get_text() for text in figure.axes[2].texts}
        assert {
            "4 image tokens × 32 numbers",
            "16 patch tokens (+ 1) × 32 numbers",
            "connector: 20 parameters",
        } <= words
        with pytest.raises(pcvr.PcvrError, match="at least one model"):
            connector_figure([])

    def test_queries_are_numbered_and_named(self):
        maps = np.random.default_rng(0).random((10, 3, 3)) / 9
        figure = query_figure(picture(0), maps, [f"w{i}" for i in range(10)], title="queries")
        assert "10 · w9" in drawn(figure) and figure.axes[9].get_title() == "10 · w9"
        with pytest.raises(pcvr.PcvrError, match="one for each query"):
            query_figure(picture(0), maps, ["one"])


class TestAttention:
    def test_a_spotlight_is_full_at_the_maximum_and_dark_at_zero(self):
        image = np.full((6, 8, 3), 200, np.uint8)
        lit = spotlight(image, np.array([[0.0, 0.1], [-1.0, 0.05]]))
        assert (lit[:3, 4:] == 200).all() and (lit[:3, :4] == 32).all() and (lit[3:, :4] == 32).all()
        assert 32 < lit[5, 7, 0] < 200
        assert (spotlight(image, np.zeros((2, 2))) == 32).all()

    def test_each_word_has_a_panel_with_its_share(self, told):
        figure = attention_maps(told, layer=1, head=2)
        said = drawn(figure)
        assert [axes.get_title() for axes in figure.axes if axes.get_title()] == list(told.steps.tokens)
        assert f"red: {100 * told.map(1, 1, 2).sum():.0f} %" in said and "layer 2, head 3" in said
        assert "attention rollout" in drawn(attention_maps(told, how="rollout"))
        assert sum(bool(axes.get_title()) for axes in attention_maps(told, most=2).axes) == 2

    def test_heads_and_layers_are_all_there(self, told):
        figure = head_maps(told, 2)
        tops = {float(axes.images[0].get_array().max()) == axes.images[0].get_clim()[1] for axes in figure.axes}
        assert tops == {True}, "each head on its own scale: on one, most would be black"
        said = drawn(figure)
        assert said.count("layer") >= 16 and "the word ball" in said

    def test_shares_are_stacked_to_one(self, told):
        figure = share_bars(told)
        tops = [bar.get_y() + bar.get_height() for bar in figure.axes[0].containers[-1]]
        assert np.allclose(tops, 1, atol=1e-5) and "answer so far 0.00" in drawn(figure)

    def test_one_word_and_the_effect_of_covering(self, told):
        assert "Attention before the word red" in drawn(one_word(told, 1, layer=3))
        said = drawn(beside_occlusion(told, 0, np.linspace(-0.1, 0.4, 9).reshape(3, 3), 0.5))
        assert "row 3 column 3, 0.40, least -0.10" in said and "Correlation 0.50" in said

    def test_curves_are_means_over_pictures(self):
        curves = {name: np.array([[0.9, level], [0.7, level]]) for name, level in (("one", 0.1), ("other", 0.6))}
        figure = covering_figure([0, 4], curves, 9)
        assert np.allclose(figure.axes[0].lines[0].get_ydata(), [0.8, 0.1])
        assert "one: 0.80, 0.10" in drawn(figure)
        drawn(covering_figure([0, 4], {"one": np.array([[0.9, 0.1]])}, 9))
        with pytest.raises(pcvr.PcvrError, match="3 counts"):
            covering_figure([0, 1, 2], curves, 9)


class TestDecoding:
    def test_the_word_that_was_said_is_dark(self, tiny):
        steps = decode_steps(tiny, picture(0), PROMPT)
        figure = decoding_bars(steps, top=3, most=5)
        said = drawn(figure)
        panels = [axes for axes in figure.axes if axes.patches]
        assert len(panels) == 5 and "the first 5 of" in said
        colours = [bar.get_facecolor() for bar in panels[0].patches]
        assert len(set(colours)) == 2 and colours[0] != colours[1], "greedy takes the first"
        forced = decode_steps(tiny, picture(0), PROMPT, ANSWER)
        assert len([axes for axes in decoding_bars(forced).axes if axes.patches]) == 5
        shown = decoding_bars(forced, picture(0))
        assert drawn(shown) == description(decoding_bars(forced)) and len(shown.axes[0].images) == 1
        with pytest.raises(pcvr.PcvrError, match="nothing is drawn"):
            decoding_bars(steps, top=0)


class TestQuiz:
    def test_marks_are_counted_against_the_truth(self, tiny, monkeypatch):
        """A stand-in that knows every answer but those to one kind of question."""
        data = Scenes(n=6, split="test", seed=1)
        scenes = [data.scene(i) for i in range(6)]
        truths = {id(s.picture): s for s in scenes}
        assert len(truths)
        known = [dict(turn for group in s.questions() for turn in group) | dict(s.telegrams()) for s in scenes]
        pictures = [s.picture() for s in scenes]

        def answers(_vlm, images, prompts):
            at = [next(k for k, p in enumerate(pictures) if np.array_equal(p, image)) for image in images]
            return [
                "Perhaps." if q.startswith("how") else known[k][q].upper() for k, q in zip(at, prompts, strict=True)
            ]

        monkeypatch.setattr("pcvr.analysis.question_accuracy.generate", answers)
        marks = {mark.kind: mark for mark in question_accuracy(tiny, scenes)}
        wrong = marks.pop("how many")
        assert (wrong.correct, wrong.n) == (0, 6) and wrong.miss[1] == "Perhaps." and wrong.guess >= 3
        assert len(marks) >= 6 and all(mark.correct == mark.n and not mark.miss for mark in marks.values())
        assert list(question_accuracy(tiny, scenes))[-1].kind == "how many", "the best first"

    def test_kinds_of_question(self):
        assert kind_of("is the car left of the cat?") == "left of, above" == kind_of("is the car above the cat?")
        assert (
            kind_of("is the car red?") == "is it that colour?"
            and kind_of("which object is red?") == "which has that colour?"
        )
        assert kind_of("why?") == "other" and bare_words("  A red, ball. ") == "a red ball"

    def test_bars_say_what_guessing_would_get(self):
        figure = accuracy_bars([Grade("where is it?", 3, 4, 2), Grade("how many", 0, 4, 4, ("q", "a", "t"))])
        assert "where is it?: 3 of 4 correct, 2 by guessing" in drawn(figure)
        with pytest.raises(pcvr.PcvrError, match="at least one grade"):
            accuracy_bars([])

    def test_a_base_model_is_asked_what_it_was_taught(self, tiny, monkeypatch):
        data = pcvr.open_data("scenes", n=2)
        assert usual_question(tiny, data[0], "caption") == PROMPT
        assert usual_question(tiny, data[0], "vqa") == data[0].prompt
        monkeypatch.delitem(tiny.tokenizer.init_kwargs, "pcvr_word_level")
        assert usual_question(tiny, data[0], "caption") == data[0].prompt, "a model from elsewhere"

    def test_a_quiz_needs_scenes(self, tiny):
        with pytest.raises(pcvr.PcvrError, match="at least one"):
            question_accuracy(tiny, [])
