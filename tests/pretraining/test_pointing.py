"""Where pretraining points: which object each word speaks of, and what looking elsewhere costs."""

from __future__ import annotations

import math
import re

import numpy as np
import pytest
import torch

from pcvr.data.scenes import Scenes
from pcvr.models.encode import IGNORE
from pcvr.models.families import family_of
from pcvr.models.zoo import EMBEDDED
from pcvr.pretraining.config import PretrainConfig
from pcvr.pretraining.lessons import LessonCollator, Lessons
from pcvr.pretraining.pointing import HEAD, LAYER, Queries, own_patches, pointing_loss, recorded_head, spoken_of
from pcvr.pretraining.squares import object_squares

PRESENT = ["car", "house"]


@pytest.mark.parametrize(
    ("prompt", "answer", "expected"),
    [
        ("list the objects .", "large red car , small white house .", [[0], [0], [0], [], [1], [1], [1], []]),
        ("describe the image .", "a picture of a red car and an", [[], [], [], [0], [0], [0], [], []]),
        ("what is where ?", "red car left of white house .", [[0], [0], [], [], [1], [1], []]),
        ("what colour is the house ?", "white", [[1]]),
        ("is the car left of the house ?", "yes", [[0, 1]]),
        ("is there a tree ?", "no", [[]]),
        ("which object is red ?", "car", [[0]]),
        ("repeat : a car and a house", "a car and a house", [[], [], [], [], []]),
        ("how many objects are there ?", "two", [[]]),
    ],
)
def test_each_word_speaks_of_its_object(prompt: str, answer: str, expected: list[list[int]]) -> None:
    assert spoken_of(prompt.split(), answer.split(), PRESENT) == expected


def test_every_kind_and_colour_of_a_list_points_at_its_own_object() -> None:
    for index in range(20):
        scene = Scenes(20).scene(index)
        words = re.findall(r"\w+|[.,]", scene.terse())
        kinds = [each.kind for each in scene.objects]
        pointed = [k for each in spoken_of([], words, kinds) for k in each]
        assert pointed == [k for k in range(len(kinds)) for _ in range(3)]  # size, colour and kind of each in turn


def test_the_cost_is_the_log_of_what_attention_gives_the_object() -> None:
    weights = torch.tensor([[[0.5, 0.5, 0.0, 0.0], [0.1, 0.2, 0.3, 0.4]]])  # [B=1, T=2, 4 columns]
    points = torch.tensor([[[0.0, 0.0], [1.0, 1.0]]])  # the first word speaks of nothing
    assert pointing_loss(weights, points, slice(1, 3)).item() == pytest.approx(-math.log(0.5))
    assert pointing_loss(weights, points, slice(2, 4)).item() == pytest.approx(-math.log(0.7))


@pytest.mark.parametrize("name", sorted(EMBEDDED))
def test_the_batch_points_where_the_objects_are(name: str) -> None:
    entry = EMBEDDED[name]
    torch.manual_seed(0)
    processor = entry.build_processor()
    model = entry.build_model(processor).eval()
    family = family_of(model)
    config = PretrainConfig(max_steps=4, batch_size=4, pictures=8, corrupted=0.0, ask_overlays=0.0, seeing=0.0)
    lessons = Lessons(config, entry)
    collator = LessonCollator(lessons, processor, family)
    draws = [lessons[i] for i in range(4)]
    batch = collator(draws)
    places = collator.picture.stop - collator.picture.start
    image = processor.tokenizer.convert_tokens_to_ids("<image>")
    assert (batch["input_ids"][:, collator.picture] == image).all()
    assert places == (96 // entry.cell) ** 2 == batch["points"].shape[-1]
    kinds = processor.tokenizer.convert_tokens_to_ids
    for row, (index, _, _) in enumerate(draws):
        facts = Scenes(config.pictures, seed=config.seed + 1).scene(index).facts()
        for each, squares in zip(facts["objects"], object_squares(facts, round(places**0.5)), strict=True):
            told = (batch["labels"][row] == kinds(each["kind"])) & batch["points"][row].any(-1)
            assert told.any()
            assert (batch["points"][row][told] == torch.from_numpy(squares)).all()
    assert not batch["points"][batch["labels"] == IGNORE].any()


def test_the_head_is_watched_only_inside_the_block() -> None:
    torch.manual_seed(0)
    entry = EMBEDDED["tiny-llava"]
    model = entry.build_model(entry.build_processor()).eval()
    language_model = model.model.language_model
    model.set_attn_implementation("eager")
    with recorded_head(language_model) as glance, torch.no_grad():
        out = language_model(input_ids=torch.tensor([[5, 6, 7]]), output_attentions=True)
        watching = glance.weights
        assert torch.equal(watching, out.attentions[LAYER][:, HEAD])
    with torch.no_grad():
        language_model(input_ids=torch.tensor([[7, 6, 5]]))
    assert glance.weights is watching


def test_each_head_of_a_query_is_told_its_own_patch() -> None:
    own = own_patches(4, 6).reshape(2, 2, 4, 4, 6, 6)
    assert (own.sum((-1, -2)) == 1).all()
    assert np.argwhere(own[:, :, 0, 0].sum((0, 1))).tolist() == [[0, 0], [0, 1], [1, 0], [1, 1]]
    assert np.argwhere(own[:, :, 1, 3].sum((0, 1))).tolist() == [[1, 4], [1, 5], [2, 4], [2, 5]]
    assert np.argwhere(own[1, 0, 3, 2]).tolist() == [[5, 3]], "the lower left patch of the third square below"
    # Pixel by pixel: a square of 24 px touches exactly those of the 16 px patches.
    touched = {(y // 16, x // 16) for y in range(72, 96) for x in range(48, 72)}
    assert {tuple(at) for at in np.argwhere(own[:, :, 3, 2].sum((0, 1)))} == touched


def test_queries_learn_where_to_look() -> None:
    torch.manual_seed(0)
    entry = EMBEDDED["tiny-blip2"]
    model = entry.build_model(entry.build_processor())
    model.set_attn_implementation("eager")
    queries = Queries(model, entry)
    optimiser = torch.optim.Adam([*model.qformer.parameters(), *model.vision_model.parameters()], lr=1.5e-3)
    losses = []
    for _ in range(250):
        model.get_image_features(torch.randn(2, 3, 96, 96))
        loss = queries.loss()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[0] == pytest.approx(math.log(37), rel=0.3), "at first everywhere alike, the class token too"
    assert losses[-1] < 0.7 * losses[0]
    for hook in queries.hooks:
        hook.remove()


@pytest.mark.parametrize("name", ["tiny-llava", "tiny-idefics3"])
def test_without_a_q_former_there_are_no_queries(name: str) -> None:
    entry = EMBEDDED[name]
    assert not Queries(entry.build_model(entry.build_processor()), entry).hooks
