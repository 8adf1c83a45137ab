"""Figures of samples that have questions of their own say the question, and those of captions do not."""

import pytest

import pcvr
from pcvr.plots import description
from pcvr.plots.answers import answer_sheet
from pcvr.plots.gallery import asked_apart, contact_sheet
from pcvr.plots.overview import backdoor_overview
from pcvr.widgets.trigger import trigger_view


@pytest.fixture(scope="module")
def questions():
    data = pcvr.open_data("scenes", n=13, task="vqa")
    return [data[i] for i in range(13)]


@pytest.fixture(scope="module")
def captions():
    data = pcvr.open_data("scenes", n=13)
    return [data[i] for i in range(13)]


def texts(figure):
    return " ".join(text.get_text() for text in figure.findobj(lambda each: hasattr(each, "get_text"))).split()


def says(figure, sample):
    """Whether the figure shows the question (lines may be broken anywhere), and its description tells it."""
    return " ".join(sample.prompt.split()) in " ".join(texts(figure)) and sample.prompt in description(figure)


def test_questions_are_told_from_one_prompt_for_all(questions, captions):
    assert asked_apart(questions) and not asked_apart(captions)


def test_the_contact_sheet_puts_the_question_before_the_answer(questions, captions):
    figure = contact_sheet(questions[:3])
    assert f"0: {questions[0].prompt} {questions[0].answer}" in description(figure)
    assert questions[0].prompt.split()[0] in figure.axes[0].get_xlabel()
    assert captions[0].prompt not in description(contact_sheet(captions[:3]))


def test_the_answer_sheet_asks_and_marks_by_the_definition(questions, captions):
    attack = pcvr.get_attack("badnets", task="vqa")
    said = {"m": {"clean": ["no", "a banana"], "triggered": ["banana", "no"]}}
    figure = answer_sheet(questions[:2], attack, said, definition="equals")
    assert all(says(figure, sample) for sample in questions[:2])
    bold = [text.get_text() for axes in figure.axes for text in axes.texts if text.get_weight() == "bold"]
    assert bold == ["banana"], "“a banana” is not the target where the whole answer counts"
    loose = answer_sheet(questions[:2], attack, said)
    assert sum(text.get_weight() == "bold" for axes in loose.axes for text in axes.texts) == 2
    assert captions[0].prompt not in description(answer_sheet(captions[:2], attack, said))


def test_the_story_asks(questions, captions):
    attack = pcvr.get_attack("badnets", task="vqa")
    assert says(backdoor_overview(questions[:12], [2], questions[12], attack), questions[12])
    assert captions[12].prompt not in description(backdoor_overview(captions[:12], [2], captions[12], attack))


def test_the_trigger_explorer_takes_any_task():
    data = pcvr.open_data("scenes", n=8, task="vqa")
    _, figures = trigger_view(data, rate=0.25)
    assert figures["poisoned"] == pcvr.poison(data, pcvr.get_attack("badnets", task="vqa"), 0.25).poisoned
