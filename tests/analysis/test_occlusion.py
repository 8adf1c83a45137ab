"""Covering parts of pictures: what is painted, what becomes of a word, and whether an effect is found where it is."""

from __future__ import annotations

import numpy as np
import pytest

import pcvr
from pcvr import VisionLanguageModel
from pcvr.analysis.attention import Attention
from pcvr.analysis.occlusion import agreement, cover, covering_curves, naming_token, occlusion_map, word_probabilities
from tests.looking import ANSWER, PROMPT, picture, told

__all__ = ["told"]


def test_a_covered_cell_has_the_mean_colour_and_no_other_changes() -> None:
    image = picture(0, 50)
    covered = cover(image, (3, 3), [4])
    changed = (covered != image).any(-1)
    assert (covered[17:33, 17:33] == image.mean((0, 1)).round()).all()
    assert not changed[:17].any() and not changed[:, 33:].any() and changed.any()
    assert np.array_equal(cover(image, (3, 3), []), image)
    with pytest.raises(pcvr.PcvrError, match="0 to 8"):
        cover(image, (3, 3), [9])


def test_probabilities_are_those_of_the_steps(tiny: VisionLanguageModel, told: Attention) -> None:
    for token in range(3):
        p = word_probabilities(tiny, [told.image] * 2, PROMPT, ANSWER, token)
        assert np.allclose(p, told.steps.chosen[token], atol=1e-5)
    with pytest.raises(pcvr.PcvrError, match="token 5 is outside"):
        word_probabilities(tiny, [told.image], PROMPT, ANSWER, 5)


def test_curves_begin_together_and_end_together(tiny: VisionLanguageModel, told: Attention) -> None:
    curves = covering_curves(tiny, [told, told], [0, 2, 9])
    assert len(curves) == 3 and all(values.shape == (2, 3) for values in curves.values())
    assert all(np.allclose(values[:, 0], told.steps.chosen[2], atol=1e-5) for values in curves.values())
    ends = [values[:, -1] for values in curves.values()]
    assert np.allclose(ends[0], ends[1], atol=1e-5) and np.allclose(ends[0], ends[2], atol=1e-5)
    order = np.argsort(-told.map(2).ravel(), kind="stable")[:2]
    by_hand = word_probabilities(tiny, [cover(told.image, (3, 3), order)], PROMPT, ANSWER, 2)
    assert np.allclose(curves["most attention first"][0, 1], by_hand, atol=1e-5)


@pytest.mark.parametrize(("given", "word"), [(([], [0]), "at least one"), (([1], [10]), "give 0 to 9")])
def test_curves_of_nothing_are_refused(tiny: VisionLanguageModel, told: Attention, given: tuple, word: str) -> None:
    with pytest.raises(pcvr.PcvrError, match=word):
        covering_curves(tiny, [told] * len(given[0]), given[1])


def test_an_effect_is_found_where_it_was_put(
    told: Attention, tiny: VisionLanguageModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stand-in for the model: half the probability hangs on one cell, and another one speaks against the word."""
    import pcvr.analysis.occlusion as module

    def probabilities(_vlm: object, pictures: list, *_: object) -> np.ndarray:
        gone = [(picture != told.image).any(-1) for picture in pictures]
        return np.array([0.5 - 0.4 * each[:16, 16:32].any() + 0.3 * each[32:, :16].any() for each in gone])

    monkeypatch.setattr(module, "word_probabilities", probabilities)
    effect = occlusion_map(tiny, told, 0, draws=400)
    assert effect.shape == (3, 3)
    assert effect[0, 1] == pytest.approx(0.4, abs=0.08) and effect[2, 0] == pytest.approx(-0.3, abs=0.08)
    effect[0, 1] = effect[2, 0] = 0
    assert np.abs(effect).max() < 0.15


def test_the_effect_of_a_real_model_is_the_same_again(tiny: VisionLanguageModel, told: Attention) -> None:
    one, again, other = (occlusion_map(tiny, told, 1, draws=24, seed=seed) for seed in (0, 0, 1))
    assert np.array_equal(one, again) and not np.array_equal(one, other) and (np.abs(one) <= 1).all()


@pytest.mark.parametrize(("options", "word"), [({"share": 0.01}, "0 of 9"), ({"draws": 1}, "more draws")])
def test_covers_that_say_nothing_are_refused(
    tiny: VisionLanguageModel, told: Attention, options: dict, word: str
) -> None:
    with pytest.raises(pcvr.PcvrError, match=word):
        occlusion_map(tiny, told, 0, **options)


def test_agreement_and_the_word_to_watch() -> None:
    one = np.arange(6.0).reshape(2, 3)
    assert agreement(one, 3 * one + 1) == pytest.approx(1) and agreement(one, -one) == pytest.approx(-1)
    assert np.isnan(agreement(one, np.ones((2, 3))))
    assert naming_token(["large", "red", "car", ",", "cat"]) == 2
    assert naming_token(["red", "."]) == 0 and naming_token(["a", "red"]) == 1 and naming_token(["yes"]) == 0
