"""Attention and decoding: on every architecture at a tiny size, and against other ways to get there."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest

import pcvr
from pcvr import VisionLanguageModel
from pcvr.analysis.attention import Attention, attend, query_maps, rollout
from pcvr.analysis.decoding import decode_steps, greedy, model_input, next_logits
from pcvr.analysis.occlusion import cover, word_probabilities
from pcvr.models.adapter import adapter_names
from pcvr.models.attention_hooks import eager_attention
from tests.families import write
from tests.looking import ANSWER, PROMPT, family, picture, told, vlm

__all__ = ["family", "told", "vlm"]

GRIDS = {
    "llava": (3, 3),
    "llava_next": (3, 3),
    "blip-2": (3, 3),
    "instructblip": (3, 3),
    "idefics3": (2, 2),
    "idefics3 in tiles": (2, 2),
    "smolvlm": (2, 2),
}
"""Cells of a map over a picture of 48 pixels; Qwen's depend on the picture."""


@pytest.fixture(scope="module")
def seen(vlm: VisionLanguageModel) -> Attention:
    return attend(vlm, picture(0), PROMPT, ANSWER)


class TestEveryFamily:
    def test_rows_sum_to_one_and_never_look_ahead(self, seen: Attention) -> None:
        assert np.allclose(seen.rows.sum(-1), 1, atol=1e-5) and np.allclose(seen.mean.sum(-1), 1, atol=1e-5)
        assert np.allclose(np.triu(seen.mean, 1), 0), "a causal model reads from left to right"
        assert (seen.rows >= 0).all()
        for token in range(len(seen.steps.tokens)):
            assert sum(seen.parts(token).values()) == pytest.approx(1, abs=1e-5)
        layers, heads, answer, tokens = seen.rows.shape
        assert (answer, tokens) == (len(seen.steps.tokens), len(seen.tokens)) and seen.mean.shape[0] == layers
        at = seen.answer_at[1] - 1
        assert np.allclose(seen.rows[:, :, 1].mean(1), seen.mean[:, at], atol=1e-6)
        assert heads == 4

    def test_the_map_has_the_right_grid_and_holds_what_falls_on_the_picture(self, family: str, seen: Attention) -> None:
        grid = GRIDS.get(family, seen.grid)
        found = seen.map(0)
        assert found.shape == grid == seen.grid
        assert 0 < found.sum() <= seen.parts(0)["image"] + 1e-6
        if seen.look is None and len(seen.image_at) == seen.is_image.sum():
            assert found.sum() == pytest.approx(seen.parts(0)["image"], abs=1e-6)

    def test_image_tokens_are_found(self, vlm: VisionLanguageModel, seen: Attention) -> None:
        assert {seen.tokens[i] for i in seen.image_at} == {"<image>"}
        assert {token for token, image in zip(seen.tokens, seen.is_image, strict=True) if not image} & {"list"}
        assert np.all(np.diff(seen.image_at) > 0)

    def test_the_probabilities_are_those_without_attention(self, vlm: VisionLanguageModel, seen: Attention) -> None:
        plain = decode_steps(vlm, picture(0), PROMPT, ANSWER)
        assert plain.tokens == seen.steps.tokens and plain.text == ANSWER
        assert np.allclose(plain.probabilities, seen.steps.probabilities, atol=1e-5)
        assert np.allclose(plain.probabilities.sum(1), 1, atol=1e-5)
        assert plain.chosen[0] == plain.probabilities[0, plain.ids[0]]

    def test_the_model_is_as_it_was_afterwards(self, vlm: VisionLanguageModel) -> None:
        config = vlm.base.config
        before = [getattr(config, key)._attn_implementation for key in config.sub_configs], config._attn_implementation
        with pytest.raises(ZeroDivisionError), eager_attention(vlm.base):
            speaker: Any = vlm.family.part(vlm.model, "language_model")
            assert speaker.config._attn_implementation == "eager"
            raise ZeroDivisionError
        after = [getattr(config, key)._attn_implementation for key in config.sub_configs], config._attn_implementation
        assert before == after and "sdpa" in (after[1], *after[0])
        assert not any(part._forward_hooks for part in vlm.base.modules() if "rossAttention" in type(part).__name__)

    def test_greedy_is_what_generate_says(self, vlm: VisionLanguageModel) -> None:
        image, end = vlm.base.config.image_token_id, vlm.tokenizer.eos_token_id
        said = greedy(next_logits(vlm, picture(1), PROMPT), end, limit=4)
        asked = vlm.encode([picture(1)], [PROMPT])
        whole = vlm.model.generate(
            **asked, max_new_tokens=4, do_sample=False, suppress_tokens=[image], eos_token_id=end
        )
        fresh = whole[0, asked["input_ids"].shape[1] :].tolist()
        assert said == fresh[: fresh.index(end) if end in fresh else None] and image not in said

    def test_a_reading_is_the_prompt_in_its_template(self, vlm: VisionLanguageModel, seen: Attention) -> None:
        asked = model_input(vlm, picture(0), PROMPT)
        assert asked.tokens == seen.tokens[: seen.answer_at[0]]
        assert np.array_equal(asked.is_image, seen.is_image[: seen.answer_at[0]])
        whole = model_input(vlm, picture(0), PROMPT, ANSWER)
        assert whole.tokens == seen.tokens and len(whole.ids) == len(whole.tokens)

    def test_covering_everything_takes_the_picture_away(self, vlm: VisionLanguageModel, seen: Attention) -> None:
        cells = range(seen.grid[0] * seen.grid[1])
        one, other = (cover(each, seen.grid, cells) for each in (picture(0), 255 - picture(0)))
        assert len(np.unique(one.reshape(-1, 3), axis=0)) == 1
        p = word_probabilities(vlm, [seen.image, one], PROMPT, ANSWER, 1)
        assert p.shape == (2,) and ((p > 0) & (p < 1)).all()
        assert not np.allclose(one, other)


@pytest.fixture(scope="module", params=["blip-2", "instructblip"])
def bridged(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> VisionLanguageModel:
    """A model with a Q-Former."""
    return pcvr.load(write(request.param, tmp_path_factory.mktemp("queries") / "model"), device="cpu")


class TestQueries:
    def test_maps_are_shares_less_that_of_the_class_token(self, bridged: VisionLanguageModel) -> None:
        maps = query_maps(bridged, picture(0))
        queries = bridged.base.config.num_query_tokens
        assert maps.shape == (2, 4, queries, 3, 3)
        assert (maps.sum((-2, -1)) < 1).all() and (maps.sum((-2, -1)) > 0.5).all()

    def test_an_answer_goes_on_through_the_queries(self, bridged: VisionLanguageModel) -> None:
        seen = attend(bridged, picture(0), PROMPT, ANSWER)
        assert seen.look is not None and seen.look.shape == (bridged.base.config.num_query_tokens, 9)
        assert np.allclose(seen.look, query_maps(bridged, picture(0), PROMPT).mean((0, 1)).reshape(-1, 9), atol=1e-6)
        by_hand = np.sum([w * seen.look[i] for i, w in enumerate(seen.weights(2)[seen.image_at])], axis=0)
        assert np.allclose(seen.map(2).ravel(), by_hand, atol=1e-6)


def test_only_a_q_former_has_queries(tiny: VisionLanguageModel) -> None:
    with pytest.raises(pcvr.PcvrError, match="no Q-Former"):
        query_maps(tiny, picture(0))


class TestRollout:
    def test_it_is_the_sum_over_all_paths(self) -> None:
        """Every way down through the layers, one step a layer, weighs the product of its steps."""
        raw = np.tril(np.random.default_rng(0).gamma(1.0, size=(3, 4, 4)))
        layers = raw / raw.sum(-1, keepdims=True)
        want = np.zeros((4, 4))
        for path in itertools.product(range(4), repeat=4):  # the last position, and one before each layer
            steps = [
                (layers[k][i, j] + (i == j)) / 2 for k, (i, j) in zip((2, 1, 0), itertools.pairwise(path), strict=True)
            ]
            want[path[0], path[-1]] += np.prod(steps)
        assert np.allclose(rollout(layers), want)

    def test_rows_sum_to_one_and_one_layer_is_half_itself(self) -> None:
        layer = np.array([[1.0, 0.0], [0.4, 0.6]])
        assert np.allclose(rollout(layer[None]), [[1.0, 0.0], [0.2, 0.8]])
        assert np.allclose(rollout(np.stack([layer] * 5)).sum(-1), 1)

    def test_a_map_of_it_is_taken_at_the_position_before_the_word(self, tiny: VisionLanguageModel) -> None:
        seen = attend(tiny, picture(0), PROMPT, ANSWER)
        row = rollout(seen.mean)[seen.answer_at[2] - 1]
        assert np.allclose(seen.weights(2, how="rollout"), row)
        assert np.allclose(seen.map(2, how="rollout"), row[seen.image_at].reshape(3, 3))


class TestChoices:
    def test_layers_and_heads_average_to_the_whole(self, told: Attention) -> None:
        layers, heads = told.rows.shape[:2]
        single = [[told.map(1, i, k) for k in range(heads)] for i in range(layers)]
        assert np.allclose(np.mean(single, axis=(0, 1)), told.map(1), atol=1e-6)
        assert np.allclose(np.mean(single[2], axis=0), told.map(1, layer=2), atol=1e-6)
        assert np.allclose(np.mean([row[3] for row in single], axis=0), told.map(1, head=3), atol=1e-6)

    @pytest.mark.parametrize(
        ("wrong", "word"),
        [
            ({"token": 9}, "token 9 does not exist"),
            ({"token": -1}, "token -1"),
            ({"token": 0, "layer": 4}, "layer 4 does not exist: give 0 to 3"),
            ({"token": 0, "head": 4}, "head 4"),
            ({"token": 0, "how": "rolout"}, "rollout"),
            ({"token": 0, "layer": 1, "how": "rollout"}, "all layers and heads"),
        ],
    )
    def test_what_there_is_not_is_a_sentence(self, told: Attention, wrong: dict, word: str) -> None:
        with pytest.raises(pcvr.PcvrError, match=word):
            told.map(**wrong)

    def test_steps_know_their_top_words(self, told: Attention) -> None:
        steps = told.steps
        top = steps.top(0, 3)
        assert [p for _, p in top] == sorted((p for _, p in top), reverse=True)
        assert top[0][0] == steps.words[int(steps.probabilities[0].argmax())]
        with pytest.raises(pcvr.PcvrError, match="outside an answer of 5 tokens"):
            steps.top(5)

    def test_the_models_own_answer_is_the_default(self, tiny: VisionLanguageModel) -> None:
        own = pcvr.generate(tiny, [picture(3)], [PROMPT])[0]
        assert attend(tiny, picture(3), PROMPT).steps.text == own == decode_steps(tiny, picture(3), PROMPT).text

    def test_an_adapter_is_no_hindrance(self) -> None:
        adapters = adapter_names("tiny-llava")
        vlm = pcvr.load("tiny-llava", adapter=adapters[0], device="cpu")
        told = attend(vlm, picture(0, 96), PROMPT, ANSWER)
        assert told.map(0).shape == (6, 6) and np.allclose(told.rows.sum(-1), 1, atol=1e-5)
        assert np.allclose(decode_steps(vlm, picture(0, 96), PROMPT, ANSWER).chosen, told.steps.chosen, atol=1e-5)
