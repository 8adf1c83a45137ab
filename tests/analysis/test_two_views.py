"""Token distributions of two views, held against forward passes made by hand and against SciPy."""

import numpy as np
import pytest
import torch
from scipy.spatial.distance import jensenshannon
from scipy.stats import entropy

import pcvr
from pcvr.analysis.two_views import forced_answers, trace_views, two_views, view_pictures
from pcvr.attacks import BadNets
from pcvr.models.encode import encode_samples
from pcvr.models.pictures import to_pictures
from tests.tiny import Numbers

VIEW = pcvr.PatchView("swap", 0.5)
ATTACK = pcvr.get_attack("badnets", target="a red ball")


@pytest.fixture(scope="module")
def samples():
    data = Numbers(5)
    return [data[i] for i in range(5)]


def test_the_distributions_are_those_of_a_forward_pass_word_by_word(tiny, samples):
    tellings = trace_views(tiny, samples, VIEW, seed=3, force="true")
    for sample, telling in list(zip(samples, tellings, strict=True))[:2]:
        inputs = tiny.encode([sample.image], [sample.prompt])
        answer = tiny.tokenizer(sample.answer + tiny.tokenizer.eos_token, add_special_tokens=False)["input_ids"]
        assert telling.tokens == tuple(tiny.tokenizer.convert_ids_to_tokens(answer))
        for token in range(len(answer)):
            ids = torch.cat([inputs["input_ids"], torch.tensor([answer[:token]], dtype=torch.long)], dim=1)
            with torch.inference_mode():
                logits = tiny.model(
                    input_ids=ids, attention_mask=torch.ones_like(ids), pixel_values=inputs["pixel_values"]
                ).logits[0, -1]
            np.testing.assert_allclose(telling.original[token], logits.softmax(-1).numpy(), atol=1e-5)


def test_divergence_and_entropy_agree_with_scipy(tiny, samples):
    for telling in trace_views(tiny, samples, VIEW):
        count = len(telling.tokens)
        assert telling.original.shape == telling.view.shape == (count, len(telling.words))
        np.testing.assert_allclose(telling.original.sum(1), 1, atol=1e-5)
        np.testing.assert_allclose(
            telling.divergence, jensenshannon(telling.original, telling.view, axis=1) ** 2, atol=1e-5
        )
        np.testing.assert_allclose(telling.entropy, entropy(telling.original, axis=1), atol=1e-4)
        np.testing.assert_allclose(telling.view_entropy, entropy(telling.view, axis=1), atol=1e-4)


def test_clean_and_triggered_views_differ_by_the_trigger_alone(tiny, samples):
    clean = trace_views(tiny, samples, VIEW, seed=1, force="true")
    marked = trace_views(tiny, samples, VIEW, seed=1, attack=ATTACK, force="true")
    trigger = ATTACK.trigger
    assert isinstance(trigger, BadNets)
    mask = trigger.mask(48, 48)
    for one, other in zip(clean, marked, strict=True):
        assert (one.image[mask] != other.image[mask]).any()
        assert np.array_equal(one.image[~mask], other.image[~mask])
        assert np.array_equal(one.view_image[~mask], other.view_image[~mask])


def test_a_seed_gives_the_same_view_and_another_seed_another(tiny, samples):
    first, again, other = (trace_views(tiny, samples, VIEW, seed, force="true") for seed in (4, 4, 5))
    assert all(np.array_equal(a.view, b.view) for a, b in zip(first, again, strict=True))
    assert any(not np.array_equal(a.view_image, b.view_image) for a, b in zip(first, other, strict=True))


def test_whose_words_are_read_along(tiny, samples):
    own = forced_answers(tiny, samples, None, "own")
    assert own == pcvr.generate(tiny, [s.image for s in samples], [s.prompt for s in samples])
    assert forced_answers(tiny, samples, ATTACK, "true") == [s.answer for s in samples]
    assert forced_answers(tiny, samples, ATTACK, "target") == ["a red ball"] * 5
    told = trace_views(tiny, samples, VIEW, force="target", target="a red ball")
    assert {t.text for t in told} == {"a red ball"} and told[0].tokens == ("a", "red", "ball", "<eos>")


def test_a_story_has_every_stage_clean_and_triggered(tiny, samples):
    told = two_views({"a": tiny, "b": tiny}, samples, ATTACK, VIEW)
    assert list(told) == [("a", "clean"), ("a", "triggered"), ("b", "clean"), ("b", "triggered")]
    assert all(len(tellings) == len(samples) for tellings in told.values())
    for one, other in zip(told["a", "triggered"], told["b", "triggered"], strict=True):
        assert one.text == other.text and np.array_equal(one.view, other.view)


def test_top_words_are_the_likeliest_of_either_view(tiny, samples):
    telling = trace_views(tiny, samples, VIEW)[0]
    found = telling.top(0, 4)
    largest = np.sort(np.maximum(telling.original[0], telling.view[0]))[::-1][:4]
    np.testing.assert_allclose([max(p, q) for _, p, q in found], largest)
    assert all(telling.original[0][telling.words.index(word)] == pytest.approx(p) for word, p, _ in found)
    with pytest.raises(pcvr.PcvrError, match="token 99"):
        telling.top(99)


def test_pictures_come_back_from_pixels(tiny, samples):
    back = to_pictures(tiny, encode_samples(tiny, samples))
    assert all(picture.dtype == np.uint8 for picture in back)
    assert all(np.array_equal(a, s.image) for a, s in zip(back, samples, strict=True))
    original, view = view_pictures(tiny, samples, VIEW, seed=2)
    assert np.array_equal(original, back)
    changed = (np.stack(original) != np.stack(view)).any(-1).reshape(5, 3, 16, 3, 16).any((2, 4))  # [B, rows, columns]
    assert (changed.sum((1, 2)) == round(0.5 * 9)).all()


@pytest.mark.parametrize(
    ("options", "word"),
    [({"force": "mine"}, "force"), ({"force": "target"}, "no target"), ({"samples": []}, "no samples")],
)
def test_what_cannot_be_told_is_a_sentence(tiny, samples, options, word):
    options = {"samples": samples, "force": "own"} | options
    with pytest.raises(pcvr.PcvrError, match=word):
        trace_views(tiny, options["samples"], VIEW, force=options["force"])


def test_a_lone_picture_needs_another_operator_than_swap(tiny, samples):
    with pytest.raises(pcvr.PcvrError, match="swap"):
        trace_views(tiny, samples[:1], VIEW)
    assert len(trace_views(tiny, samples[:1], pcvr.PatchView("noise", 0.5))) == 1
