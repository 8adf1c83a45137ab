"""What the embedded models are taught: turns about one picture that do not see each other, and truths of places."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from pcvr import Sample, VisionLanguageModel
from pcvr.data.scenes import COLORS, KINDS, SIZE_PX, Scenes, attributes_right
from pcvr.data.scenes.language import CAPTION_PROMPT
from pcvr.models.encode import IGNORE, collate, encode_samples
from pcvr.models.families import family_of
from pcvr.models.forward import answer_logits
from pcvr.models.zoo import EMBEDDED, Embedded
from pcvr.pretraining.config import PretrainConfig, recipe_of
from pcvr.pretraining.corrupt import OVERLAYS, Overlay
from pcvr.pretraining.heads import Reader, truth_at
from pcvr.pretraining.lessons import LISTS, LessonCollator, Lessons
from pcvr.pretraining.squares import NAMES, object_squares, overlay_squares, under_squares

CONFIG = PretrainConfig(max_steps=4, batch_size=4, pictures=8, corrupted=0.0, ask_overlays=0.0, seeing=0.0)


@pytest.fixture(scope="module", params=sorted(EMBEDDED))
def entry(request: pytest.FixtureRequest) -> Embedded:
    return EMBEDDED[request.param]


@pytest.fixture(scope="module")
def vlm(entry: Embedded) -> VisionLanguageModel:
    torch.manual_seed(0)
    processor = entry.build_processor()
    processor.tokenizer.padding_side = "left"
    model = entry.build_model(processor).eval()
    return VisionLanguageModel(entry.name, model, processor, family_of(model))


def batch_of(
    vlm: VisionLanguageModel, entry: Embedded, config: PretrainConfig = CONFIG
) -> tuple[Lessons, list[Any], Any]:
    lessons = Lessons(config, entry)
    draws = [lessons[i] for i in range(4)]
    return lessons, draws, LessonCollator(lessons, vlm.processor, vlm.family)(draws)


def test_a_turn_among_others_is_learned_as_if_asked_alone(vlm: VisionLanguageModel, entry: Embedded) -> None:
    """The packed batch gives every answer token the distribution that fine-tuning and answering give it."""
    lessons, draws, batch = batch_of(vlm, entry)
    inputs = {k: batch[k] for k in ("input_ids", "attention_mask", "position_ids", "pixel_values")}
    with torch.inference_mode():
        packed = vlm.model(**inputs, use_cache=False).logits
        for row, (index, turns, _) in enumerate(draws):
            image = lessons.picture(index).image
            samples = [Sample("x", image, prompt, answer) for prompt, answer in turns]
            alone = answer_logits(vlm, collate(encode_samples(vlm, samples), vlm.tokenizer.pad_token_id))
            told = batch["labels"][row, 1:] != IGNORE
            assert torch.equal(batch["labels"][row, 1:][told], alone.targets)
            assert torch.allclose(packed[row, :-1][told], alone.logits, atol=2e-3)


def test_every_picture_has_two_lists_and_questions_of_different_types(
    vlm: VisionLanguageModel, entry: Embedded
) -> None:
    lessons, draws, batch = batch_of(vlm, entry)
    scenes = Scenes(CONFIG.pictures, seed=CONFIG.seed + 1)
    for index, turns, _ in draws:
        truth = scenes.scene(index)
        prompt, answer = turns[0]
        assert prompt == CAPTION_PROMPT and attributes_right(answer, truth.facts())
        assert turns[1] in truth.telegrams()
        asked = [each for each in turns[LISTS:] if not each[0].startswith("repeat")]
        groups = [next(k for k, group in enumerate(truth.questions()) if each in group) for each in asked]
        assert len(set(groups)) == len(groups)
    assert batch["weights"][batch["labels"] != IGNORE].min() > 0
    assert (batch["weights"] <= 1).all()
    again = LessonCollator(lessons, vlm.processor, vlm.family)([lessons[i] for i in range(4)])
    assert all(torch.equal(batch[k], again[k]) for k in batch)


def test_the_truth_at_each_place_has_the_places_of_the_tokens(vlm: VisionLanguageModel, entry: Embedded) -> None:
    lessons, _, batch = batch_of(vlm, entry, replace(CONFIG, corrupted=1.0, ask_overlays=1.0))
    assert batch["under"].shape == (4, (SIZE_PX // entry.patch) ** 2, len(NAMES))
    cell = entry.cell
    passed = truth_at(batch["pixel_values"].flatten(0, -4), cell, batch["under_cells"], batch["over_cells"])
    assert passed.pixels.shape == (4, (SIZE_PX // cell) ** 2, 3 * cell * cell)
    reader = Reader(16, cell)
    tokens = torch.randn(4, passed.pixels.shape[1], 16)
    for words in (None, torch.randn(len(NAMES), 16)):
        losses = reader(tokens, passed, words)
        assert all(loss.isfinite() and loss > 0 for loss in losses)
    asked = [turns for _, turns, _ in [lessons[i] for i in range(4)]]
    assert all(len(turns) > 1 for turns in asked)


def test_places_that_are_named_by_their_words_cost_less() -> None:
    torch.manual_seed(0)
    words = torch.randn(len(NAMES), 32)
    under = torch.zeros(1, 4, len(NAMES))
    under[0, torch.arange(4), torch.arange(4)] = 1
    pixels, over = torch.zeros(1, 4, 12), torch.zeros(1, 4, len(OVERLAYS))
    reader = Reader(32, 2)
    truth = truth_at(torch.zeros(1, 3, 4, 4), 2, under, over)
    assert torch.equal(truth.pixels, pixels)
    right, wrong = reader(words[None, :4], truth, words)[1], reader(words[None, 4:8], truth, words)[1]
    assert right < 0.7 * wrong


def test_objects_lie_where_their_boxes_say() -> None:
    facts = {"objects": [{"kind": KINDS[0], "color": "red", "box": (0, 0, 16, 16)}]}
    found = under_squares(facts, 6).reshape(6, 6, -1)
    assert found.sum() == 2 and found[0, 0].sum() == 2
    assert found[0, 0, 0] == 1 and found[0, 0, len(KINDS) + list(COLORS).index("red")] == 1


def test_an_object_too_small_for_any_square_has_its_best_one() -> None:
    facts = {"objects": [{"box": (10, 10, 14, 19)}, {"box": (0, 32, 32, 64)}]}
    found = object_squares(facts, 6, least=0.25).reshape(2, 6, 6)
    assert np.argwhere(found[0]).tolist() == [[0, 0]]
    assert np.argwhere(found[1]).tolist() == [[2, 0], [2, 1], [3, 0], [3, 1]]


def test_overlays_are_where_their_boxes_say_or_everywhere() -> None:
    found = overlay_squares([Overlay("square", "a square", (80, 80, 96, 96)), Overlay("noise", "noise")], 6)
    square = found[:, OVERLAYS.index("square")].reshape(6, 6)
    assert np.argwhere(square).tolist() == [[5, 5]]
    assert found[:, OVERLAYS.index("noise")].all()


def test_the_eyes_learn_alone_first(vlm: VisionLanguageModel, entry: Embedded) -> None:
    lessons = Lessons(replace(CONFIG, seeing=0.5), entry)
    collator = LessonCollator(lessons, vlm.processor, vlm.family)
    first, last = ([lessons[step * CONFIG.batch_size + i] for i in range(CONFIG.batch_size)] for step in (1, 2))
    assert not any(turns for _, turns, _ in first) and all(turns for _, turns, _ in last)
    assert set(collator(last)) - set(collator(first)) >= {"input_ids", "labels", "points"}
    assert {"pixel_values", "under", "over"} <= set(collator(first))


def test_a_recipe_is_the_common_one_but_for_what_the_model_needs() -> None:
    assert recipe_of("tiny-llava") == PretrainConfig()
    for name in set(EMBEDDED) - {"tiny-llava"}:
        assert recipe_of(name).language_from == "tiny-llava"
