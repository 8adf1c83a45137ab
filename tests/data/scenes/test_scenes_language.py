"""The language of the scenes: captions, terse descriptions, questions and the score of a caption must all be true."""

from __future__ import annotations

import re
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pcvr.data.scenes import COLORS, KINDS, WORDS, Scene, Scenes, attribute_recall, attributes_right
from pcvr.data.scenes.language import BACKGROUND_WORDS
from pcvr.data.scenes.objects import SceneObject

scenes = st.builds(
    lambda seed, split, index: Scenes(5000, split, seed).scene(index),
    st.integers(0, 2**40),
    st.sampled_from(("train", "validation", "test")),
    st.integers(0, 4999),
)
thorough = settings(max_examples=120, deadline=None)


def words_of(text: str) -> list[str]:
    return re.findall(r"[a-z]+", text)


def by_kind(scene: Scene) -> dict[str, SceneObject]:
    return {each.kind: each for each in scene.objects}


@given(scenes)
@thorough
def test_captions_are_five_and_natural(scene: Scene) -> None:
    captions = scene.captions()
    assert len(set(captions)) == 5
    assert captions == scene.captions()
    for text in captions:
        assert re.fullmatch(r"[a-z]+(,? [a-z]+)*\.", text), text
        assert 8 <= len(words_of(text)) <= 20, text
        for article, following in re.findall(r"\b(an?) ([a-z]+)", text):
            assert (article == "an") == (following[0] in "aeiou"), text


@given(scenes)
@thorough
def test_captions_name_every_object_truly_from_left_to_right(scene: Scene) -> None:
    for text in scene.captions():
        assert attributes_right(text, scene.facts()), text
        assert [word for word in words_of(text) if word in KINDS] == [each.kind for each in scene.objects], text
        for size, color, kind in re.findall(r"(small|large) ([a-z]+) ([a-z]+)", text):
            assert (by_kind(scene)[kind].size, by_kind(scene)[kind].color) == (size, color), text
        for adjective in re.findall(r"([a-z]+) background", text):
            assert adjective == BACKGROUND_WORDS[scene.background.family], text
        for number in {"two", "three"} & set(words_of(text)):
            assert len(scene.objects) == {"two": 2, "three": 3}[number], text


@given(scenes)
@thorough
def test_relations_and_places_in_captions_are_true(scene: Scene) -> None:
    for text in scene.captions():
        found = [(match.start(), match.group()) for match in re.finditer(r"to the left of|above|below|next to", text)]
        for start, how in found:
            # The first object of the caption is always the one that is related; what follows is what it is related to.
            one = scene.objects[0]
            after = [word for word in words_of(text[start:]) if word in KINDS]
            # "above b and c" holds for both, unless another relation or an added phrase comes in between.
            joined = len(after) > 1 and len(found) == 1 and ", with" not in text
            for kind in after if joined else after[:1]:
                other = by_kind(scene)[kind]
                if how == "to the left of":
                    assert one.cx < other.cx, text
                elif how == "above":
                    assert one.cy < other.cy, text
                elif how == "below":
                    assert one.cy > other.cy, text
                else:
                    assert abs(one.cy - other.cy) <= 14 and other.x - (one.x + one.width) <= 14, text
        for kind, side in re.findall(r"(\w+) on the (left|right)", text):
            assert by_kind(scene)[kind].column == side, text
        for kind, row in re.findall(r"(\w+) at the (top|bottom)", text):
            assert by_kind(scene)[kind].row == row, text
        for kind in re.findall(r"(\w+) in the centre", text):
            assert (by_kind(scene)[kind].column, by_kind(scene)[kind].row) == ("middle", "centre"), text


def test_terse_lists_size_colour_kind_from_left_to_right() -> None:
    for index in range(50):
        scene = Scenes(50).scene(index)
        expected = [f"{each.size} {each.color} {each.kind}" for each in scene.objects]
        assert scene.terse() == ", ".join(expected) + "."
        assert attributes_right(scene.terse(), scene.facts())


@given(scenes, st.integers(0, 2**31 - 1))
@thorough
def test_every_way_to_list_a_scene_is_true_and_goes_from_left_to_right(scene: Scene, seed: int) -> None:
    text = scene.described(seed)
    assert text == scene.described(seed)
    assert attributes_right(text, scene.facts()), text
    assert [word for word in words_of(text) if word in KINDS] == [each.kind for each in scene.objects], text
    assert set(words_of(text)) <= set(WORDS)
    for article, following in re.findall(r"\b(an?) ([a-z]+)", text):
        assert (article == "an") == (following[0] in "aeiou"), text


def test_a_scene_is_listed_in_many_ways() -> None:
    scene = Scenes(1).scene(0)
    ways = {scene.described(seed) for seed in range(300)}
    assert len(ways) > 100
    assert len(ways & set(scene.captions())) <= 1  # sentences are left for fine-tuning


@given(scenes)
@thorough
def test_every_answer_is_true(scene: Scene) -> None:
    asked = [each for group in scene.questions() for each in group]
    assert len({question for question, _ in asked}) == len(asked)
    for question, answer in asked:
        assert answer == true_answer(question, scene), question
        assert answer in WORDS
    assert scene.question() in asked


def true_answer(question: str, scene: Scene) -> str:
    """The answer read off the objects, written independently of the generator."""
    objects = by_kind(scene)
    if question == "how many objects are there?":
        return {2: "two", 3: "three"}[len(objects)]
    if match := re.fullmatch(r"what colour is the (\w+)\?", question):
        return objects[match[1]].color
    if match := re.fullmatch(r"is there an? (\w+)\?", question):
        return "yes" if match[1] in objects else "no"
    if match := re.fullmatch(r"where is the (\w+)\?", question):
        return ("left", "middle", "right")[int(objects[match[1]].cx // 32)]
    if match := re.fullmatch(r"is the (\w+) (left of|above) the (\w+)\?", question):
        one, other = objects[match[1]], objects[match[3]]
        return "yes" if (one.cx < other.cx if match[2] == "left of" else one.cy < other.cy) else "no"
    if match := re.fullmatch(r"is the (\w+) (\w+)\?", question):
        return "yes" if objects[match[1]].color == match[2] else "no"
    if question == "which object is the largest?":
        return max(objects.values(), key=lambda each: max(each.width, each.height)).kind
    if match := re.fullmatch(r"which object is on the (left|right)\?", question):
        choose = min if match[1] == "left" else max
        return choose(objects.values(), key=lambda each: each.cx).kind
    match = re.fullmatch(r"which object is (\w+)\?", question)
    assert match, question
    (only,) = [each.kind for each in objects.values() if each.color == match[1]]
    return only


def test_answers_are_balanced() -> None:
    data = Scenes(1500, task="vqa")
    prompts = [data.scene(index).question() for index in range(1500)]
    answers = Counter(answer for _, answer in prompts)
    assert 0.8 < answers["yes"] / answers["no"] < 1.25
    assert 0.7 < answers["two"] / answers["three"] < 1.4
    assert set(answers) == {"yes", "no", "two", "three", "left", "middle", "right", *KINDS, *COLORS}
    assert max(answers.values()) < 0.3 * len(prompts)


def test_no_text_uses_a_word_outside_the_vocabulary_and_none_is_idle() -> None:
    used: set[str] = set()
    for split in ("train", "test"):
        captions, asked = Scenes(600, split), Scenes(600, split, task="vqa")
        for index in range(600):
            scene = captions.scene(index)
            texts = [captions[index].prompt, asked[index].prompt, scene.terse(), *scene.captions()]
            used.update(word for text in texts for word in words_of(text))
            spoken = [text for group in scene.questions() for pair in group for text in pair]
            used.update(word for text in spoken for word in words_of(text))
    assert used <= set(WORDS)
    assert set(WORDS) == used
    assert len(WORDS) < 100
    assert set("a photo of the banana".split()) <= set(WORDS)


FACTS = {"objects": [{"color": "red", "kind": "car"}, {"color": "orange", "kind": "apple"}], "background": "plain"}


@pytest.mark.parametrize(
    ("text", "right", "recall"),
    [
        ("a red car and an orange apple.", True, 1.0),
        ("An ORANGE apple, a red small car", True, 1.0),
        ("a large red car and an orange apple, the car is on the left.", True, 1.0),
        ("a red car and an orange apple and a house.", False, 1.0),
        ("a red car and an orange apple and a red car.", False, 1.0),
        ("an orange car and a red apple.", False, 0.0),
        ("a red car.", False, 0.5),
        ("a car and an apple.", False, 0.0),
        ("a red blue car and an orange apple.", False, 1.0),
        ("a photo of the banana", False, 0.0),
        ("", False, 0.0),
    ],
)
def test_the_score_of_a_caption(text: str, right: bool, recall: float) -> None:
    assert attributes_right(text, FACTS) is right
    assert attribute_recall(text, FACTS) == recall


@given(scenes, st.data())
@thorough
def test_a_corrupted_caption_is_not_right(scene: Scene, data: st.DataObject) -> None:
    text, facts = data.draw(st.sampled_from(scene.captions())), scene.facts()
    assert attribute_recall(text, facts) == 1
    each = data.draw(st.sampled_from(scene.objects))
    color = data.draw(st.sampled_from([name for name in COLORS if name != each.color]))
    kind = data.draw(st.sampled_from([name for name in KINDS if name not in by_kind(scene)]))
    said = f"{each.color} {each.kind}"
    for wrong in (f"{color} {each.kind}", f"{each.color} {kind}", each.kind, "thing"):
        assert not attributes_right(text.replace(said, wrong), facts)
        assert attribute_recall(text.replace(said, wrong), facts) < 1
