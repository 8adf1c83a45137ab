"""The two explorers of notebook 01 without a kernel: callbacks as functions, and controls set from code."""

import io
from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
import pytest
from PIL import Image as PilImage

import pcvr
from pcvr.analysis.attention import attend
from pcvr.data.scenes.compose import Thing, compose
from pcvr.models.guard import Guard
from pcvr.plots import description
from pcvr.widgets.ask import ask, ask_widget, preview_figure, reply_figure, reply_line, suggestions
from pcvr.widgets.ask_controls import FILE, NOTHING, SCENE
from pcvr.widgets.attend import AttentionChoice, attention_explorer, attention_view
from tests.defenses.test_guard import Says
from tests.tiny import tiny, tiny_folder  # noqa: F401

DRAWING = compose([Thing("car", "red", "large", 25, 70), Thing("cat", "white", "small", 75, 30)])
PROMPT = "list the objects."


def picture(seed):
    return np.random.default_rng(seed).integers(0, 256, (48, 48, 3), dtype=np.uint8)


def upload(controls, content, name="mine.png"):
    file = {"name": name, "type": "image/png", "size": len(content), "content": memoryview(content)}
    controls.upload.value = (file | {"last_modified": datetime(2026, 1, 1, tzinfo=UTC)},)


def png_of(array):
    out = io.BytesIO()
    PilImage.fromarray(array).save(out, format="PNG")
    return out.getvalue()


class TestAsk:
    def test_the_answer_is_the_models_own(self, tiny):  # noqa: F811
        reply = ask(tiny, DRAWING, "  list the   objects. ")
        assert reply.seen.steps.text == pcvr.generate(tiny, [DRAWING.picture], [PROMPT])[0]
        assert reply.truth == "large red car, small white cat." and reply.correct is False

    def test_a_guard_answers_and_the_models_own_answer_stands_below(self, tiny):  # noqa: F811
        guarded = replace(tiny, guard=Guard(Says(), {"text": "Large red car, small white cat"}))
        reply, own = ask(guarded, DRAWING, PROMPT), ask(tiny, DRAWING, PROMPT)
        assert reply.answer == "Large red car, small white cat" and reply.correct is True
        assert reply.seen.steps.text == own.seen.steps.text == own.answer
        line = reply_line(reply)
        assert reply.answer in line and own.answer in line and "without its guard" in line
        assert "guard" not in reply_line(own) and reply.answer in description(reply_figure(reply))

    def test_right_is_word_for_word(self, tiny, monkeypatch):  # noqa: F811
        monkeypatch.setattr("pcvr.analysis.attention.own_answer", lambda *_: "Large red car small white cat")
        assert ask(tiny, DRAWING, PROMPT).correct is True
        assert "(correct)" in reply_line(ask(tiny, DRAWING, "List the objects"))

    def test_what_the_drawing_does_not_know_has_no_truth(self, tiny):  # noqa: F811
        reply = ask(tiny, DRAWING, "what is the car made of?")
        assert reply.truth is None and reply.correct is None and "Truth" not in reply_line(reply)

    @pytest.mark.parametrize("question", ["", "   "])
    def test_an_empty_question_is_refused(self, tiny, question):  # noqa: F811
        with pytest.raises(pcvr.PcvrError, match="empty"):
            ask(tiny, DRAWING, question)

    def test_an_image_token_is_refused(self, tiny):  # noqa: F811
        with pytest.raises(pcvr.PcvrError, match="image token"):
            ask(tiny, DRAWING, "what is <image>?")

    def test_figures_and_lines_say_it_in_words(self, tiny):  # noqa: F811
        reply = ask(tiny, compose([]), "what is there?")
        steps = reply.seen.steps
        assert f"{steps.top(0)[0][0]} {steps.top(0)[0][1]:.2f}" in description(reply_figure(reply))
        assert "no objects" in reply_line(reply) and 'role="status"' in reply_line(reply)
        assert "a large red car bottom left" in description(preview_figure(DRAWING))
        assert {PROMPT, "describe the image.", "is there a cat?"} <= set(suggestions(DRAWING))


class TestControls:
    @pytest.fixture
    def controls(self, tiny):  # noqa: F811
        return ask_widget(tiny)[1]

    def test_it_begins_with_an_answer(self, controls):
        assert "Answer" in controls.message.value and controls.image.value and controls.preview.tooltip
        assert "list the objects." in controls.image.tooltip

    @pytest.mark.parametrize(
        ("name", "value"),
        [("kind", "boat"), ("kind", NOTHING), ("color", "green"), ("size", "small"), ("x", 60), ("y", 20)],
    )
    def test_every_control_of_an_object_changes_the_drawing(self, controls, name, value):
        before, picture_before = controls.preview.value, controls.drawing().picture
        getattr(controls.things[0], name).value = value
        assert controls.preview.value != before and not np.array_equal(controls.drawing().picture, picture_before)
        assert "press" in controls.message.value
        controls.button.click()
        assert "Answer" in controls.message.value

    def test_a_third_object_and_another_background(self, controls):
        assert len(controls.drawing().facts["objects"]) == 2
        controls.things[2].kind.value = "cat"
        controls.background.value = "dots"
        controls.tones.value = 5
        facts = controls.drawing().facts
        assert len(facts["objects"]) == 3 and facts["background"] == "dots"
        assert "is the cat blue?" in controls.question.options

    def test_stamps_come_and_go(self, controls):
        controls.squares[63].click()
        assert controls.stamps == {63: "white"} and "white" in controls.squares[63].tooltip
        assert controls.squares[63].style.button_color == "#f8f8f8"
        assert (controls.drawing().picture[84:, 84:] == 248).all()
        controls.ink.value = "black"
        controls.squares[63].click()
        assert controls.stamps == {63: "black"}, "another colour paints over"
        controls.squares[63].click()
        assert controls.stamps == {} and controls.squares[63].style.button_color is None
        controls.squares[0].click()
        controls.clear.click()
        assert controls.stamps == {} and "nothing" in controls.squares[0].tooltip

    def test_a_question_of_ones_own(self, controls):
        controls.question.value = "is there a car?"
        before = controls.image.value
        controls.button.click()
        assert controls.image.value != before and "<b>Truth:</b> yes" in controls.message.value

    def test_a_file_is_taken_and_can_be_stamped(self, controls):
        upload(controls, png_of(picture(5)))
        assert controls.source.value == FILE and np.array_equal(controls.drawing().picture, picture(5))
        controls.squares[0].click()
        assert (controls.drawing().picture[:6, :6] == 248).all()
        upload(controls, png_of(picture(6)), "other.png")
        assert np.array_equal(controls.drawing().picture[6:], picture(6)[6:])
        controls.button.click()
        assert "outside" in controls.message.value
        controls.source.value = SCENE
        assert controls.drawing().facts["objects"]

    def test_what_goes_wrong_is_shown_and_not_swallowed(self, controls):
        controls.question.value = " "
        controls.button.click()
        assert 'role="alert"' in controls.message.value and "empty" in controls.message.value
        assert not controls.button.disabled
        controls.source.value = FILE
        assert "no file yet" in controls.message.value
        upload(controls, b"no <picture>")
        assert "cannot be read as an image" in controls.message.value

    def test_every_control_has_a_label(self, tiny):  # noqa: F811
        box, controls = ask_widget(tiny)
        things = [control for each in controls.things for control in each.all()]
        named = [*things, controls.source, controls.background, controls.tones, controls.ink, controls.question]
        labels = [control.description for control in (*named, controls.button, controls.clear, controls.upload)]
        assert all(labels) and len(set(labels)) == len(labels)
        names = [square.description for square in controls.squares]
        assert len(set(names)) == 64 and names[0] == "A1" and names[7] == "H1" and names[-1] == "H8"
        assert all(each.continuous_update is False for thing in controls.things for each in (thing.x, thing.y))
        assert controls.image in box.children and controls.message in box.children


@pytest.fixture(scope="module")
def seen(tiny):  # noqa: F811
    return [attend(tiny, picture(i), PROMPT, answer) for i, answer in enumerate(("a red ball.", "yes"))]


class TestAttention:
    def test_the_view_is_that_of_the_choice(self, seen):
        said = description(attention_view(seen, AttentionChoice(0, 1, 2, 3)))
        assert "the word red" in said and "layer 3, head 4" in said
        assert "rollout" in description(attention_view(seen, AttentionChoice(0, 0, 2, 3, "rollout")))
        assert "<eos>" in description(attention_view(seen, AttentionChoice(1, 99)))
        with pytest.raises(pcvr.PcvrError, match="image 2"):
            attention_view(seen, AttentionChoice(2))

    @pytest.mark.parametrize(
        ("name", "value"), [("picture", 2), ("token", 3), ("layer", 1), ("head", 2), ("how", "rollout")]
    )
    def test_every_control_redraws(self, seen, name, value):
        _, controls = attention_explorer(seen)
        before = controls.image.value
        getattr(controls, name).value = value
        assert controls.image.value != before
        assert controls.image.tooltip == description(attention_view(seen, controls.choice()))

    def test_the_word_slider_follows_the_answer_and_rollout_needs_no_head(self, seen):
        _, controls = attention_explorer(seen)
        assert controls.token.max == 5
        controls.token.value = 5
        controls.picture.value = 2
        assert controls.token.max == controls.token.value == 2 and "yes" in controls.message.value
        controls.how.value = "rollout"
        assert controls.layer.disabled and controls.head.disabled
        controls.how.value = "mean"
        assert not controls.layer.disabled

    @pytest.mark.parametrize("name", ["layer", "head"])
    def test_all_can_be_chosen_again(self, seen, name):
        _, controls = attention_explorer(seen)
        chosen = getattr(controls, name)
        for index in (1, 0):
            chosen.index = index
        assert chosen.index == 0 and getattr(controls.choice(), name) is None

    def test_one_picture_is_enough_and_none_is_not(self, seen):
        _, controls = attention_explorer(seen[:1])
        assert controls.picture.disabled and controls.picture.max == 1
        with pytest.raises(pcvr.PcvrError, match="nothing to explore"):
            attention_explorer([])

    def test_an_error_is_shown_and_not_swallowed(self, seen, monkeypatch):
        _, controls = attention_explorer(seen)

        def fails(*_):
            raise pcvr.PcvrError("no <such> map")

        monkeypatch.setattr("pcvr.widgets.attend.attention_view", fails)
        controls.token.value = 2
        assert 'role="alert"' in controls.message.value and "no &lt;such&gt; map" in controls.message.value
