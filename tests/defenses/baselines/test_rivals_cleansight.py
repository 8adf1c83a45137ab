"""CleanSight at test time: attention ratios, and pruning of the tokens that take too much of it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pcvr import PcvrError, VisionLanguageModel
from pcvr.defenses import CleanSight
from pcvr.defenses.baselines.cleansight import attention_ratios, most_attended, whitened_distance
from pcvr.models.attention_hooks import mean_attention, without_tokens
from pcvr.models.generate import generate
from tests.answering import asked, short, vlm
from tests.tiny import Numbers


class TestAttentionFigures:
    def test_ratios_by_hand(self) -> None:
        """One padding token, two of the picture, two of text: (0.1 + 0.3) / (0.2 + 0.4) and 1 / the floor."""
        weights = torch.tensor([[[0.0, 0.1, 0.3, 0.2, 0.4], [0.0, 0.5, 0.5, 0.0, 0.0]]])
        image = torch.tensor([[False, True, True, False, False]])
        text = torch.tensor([[False, False, False, True, True]])
        assert attention_ratios(weights, image, text)[0].tolist() == pytest.approx([2 / 3, 1e6])

    def test_most_attended_by_hand(self) -> None:
        weights = torch.tensor([[[0.5, 0.1, 0.02, 0.05, 0.03, 0.3], [0.2, 0.02, 0.2, 0.08, 0.01, 0.49]]])
        image = torch.tensor([[False, True, True, True, True, False]])
        assert most_attended(weights, image, 0.25)[0].tolist() == [False, False, True, False, False, False]
        assert most_attended(weights, image, 0.5)[0].tolist() == [False, True, True, False, False, False]
        assert most_attended(weights, image, 0.01).sum() == 1  # at least one

    @settings(max_examples=50, deadline=None)
    @given(st.integers(1, 12), st.floats(0.01, 0.99), st.integers(0, 99))
    def test_the_cut_tokens_are_image_tokens_and_as_many_as_asked(self, count: int, fraction: float, seed: int) -> None:
        generator = torch.Generator().manual_seed(seed)
        weights = torch.rand(2, 3, 14, generator=generator)
        image = torch.zeros(2, 14, dtype=torch.bool)
        image[:, 1 : 1 + count] = True
        cut = most_attended(weights, image, fraction)
        assert not (cut & ~image).any()
        assert cut.sum(1).tolist() == [max(1, round(fraction * count))] * 2
        kept = (image & ~cut).any(1)
        for i in range(2):
            most = weights[i].amax(0)
            assert not kept[i] or most[cut[i]].min() >= most[image[i] & ~cut[i]].max()

    def test_distance_by_hand(self) -> None:
        found = whitened_distance(np.array([[4.0, 1.0], [1.0, 2.0]]), np.array([1.0, 2.0]), np.array([1.0, 0.25]))
        assert found.tolist() == pytest.approx([5.0, 0.0])

    def test_calibration_is_mean_spread_and_quantile(self, tiny: VisionLanguageModel) -> None:
        data = Numbers(6)
        rule = CleanSight(false_alarms=0.2)
        known = rule.calibrate(tiny, data)["cleansight"]
        ratios = rule.look(tiny, *asked(data)).ratios
        assert known.mean == pytest.approx(ratios.mean(0), rel=1e-5)
        z = (ratios - ratios.mean(0)) / ratios.std(0)
        assert known.scores == pytest.approx(np.sqrt((z**2).sum(1)), rel=1e-3)
        assert known.threshold == pytest.approx(np.quantile(np.sqrt((z**2).sum(1)), 0.8), rel=1e-3)


__all__ = ["vlm"]


class TestLook:
    def test_attention_is_that_of_the_model(self, vlm: VisionLanguageModel) -> None:
        """Read once more by the model's own output_attentions; prompts of two lengths, so that one is padded."""
        images, prompts = asked(Numbers(3))
        prompts[1] = "what is there in front of the dog?"
        rule = CleanSight()
        look = rule.look(vlm, images, prompts)
        inputs = vlm.encode(images, prompts)
        vlm.base.set_attn_implementation("eager")
        with torch.inference_mode():
            output = vlm.model(**inputs, output_attentions=True, use_cache=False)
        vlm.base.set_attn_implementation("sdpa")
        layers = (getattr(output, "language_model_outputs", None) or output).attentions
        assert len(layers) == 4  # of which the middle two are meant
        for i in range(3):
            ids, there = inputs["input_ids"][i], inputs["attention_mask"][i].bool()
            image = (ids == vlm.base.config.image_token_id).numpy()
            text = there.numpy() & ~image
            behind = text & (np.arange(len(ids)) > np.flatnonzero(image).max())
            rows = torch.cat([layers[1][i], layers[2][i]]).numpy()[:, behind].mean(1)  # [F, T]
            wanted = rows[:, image].sum(1) / rows[:, text].sum(1)
            assert look.ratios[i] == pytest.approx(wanted, rel=1e-3)
            assert int(look.pruned[i].sum()) == max(1, round(0.2 * image.sum()))

    def test_the_depth_is_cut_as_the_paper_cuts_it(self) -> None:
        low, high = CleanSight().layers
        assert [n for n in range(32) if low <= (n + 0.5) / 32 <= high] == list(range(10, 25))

    def test_everything_is_put_back(self, tiny: VisionLanguageModel) -> None:
        language_model: Any = tiny.family.part(tiny.model, "language_model")
        before = language_model.config._attn_implementation

        def hooks() -> int:
            # transformers hangs up some of its own the first time that attention or hidden states are asked for.
            modules = list(language_model.modules())
            return sum(len(part._forward_hooks) + len(part._forward_pre_hooks) for part in modules)

        hung = hooks()
        with pytest.raises(ZeroDivisionError), mean_attention(tiny, (0, 1), torch.ones(1, 1)):
            assert language_model.config._attn_implementation == "eager"
            raise ZeroDivisionError
        with pytest.raises(ZeroDivisionError), without_tokens(tiny, torch.ones(1, 1, dtype=torch.bool)):
            raise ZeroDivisionError
        assert language_model.config._attn_implementation == before
        assert hooks() == hung


class TestWithoutTokens:
    def test_what_is_cut_off_has_no_say(self, vlm: VisionLanguageModel) -> None:
        """With every image token cut off the answer does not depend on the picture; the prompts are padded."""
        images, prompts = asked(Numbers(4))
        prompts = [prompts[0], "what is there in front of the dog?"] * 2
        image = vlm.encode(images, prompts)["input_ids"] == vlm.base.config.image_token_id
        with without_tokens(vlm, image):
            blind = short(vlm, images, prompts)
        assert blind[0] == blind[2]
        assert blind[1] == blind[3]
        assert short(vlm, images, prompts) != blind
        with without_tokens(vlm, torch.zeros_like(image)):
            assert short(vlm, images, prompts) == short(vlm, images, prompts)

    def test_masking_is_the_large_negative_bias(self, tiny: VisionLanguageModel) -> None:
        """The same answer as one whose cut tokens hold rubbish: nothing of them gets through, in prefill or later."""
        images, prompts = asked(Numbers(3))
        ids = tiny.encode(images, prompts)["input_ids"]
        cut = (ids == tiny.base.config.image_token_id) & (torch.arange(ids.shape[1]) % 2 == 0)
        with without_tokens(tiny, cut):
            wanted = short(tiny, images, prompts)
        language_model = tiny.family.part(tiny.model, "language_model")

        def spoil(_module: Any, args: Any, kwargs: dict[str, Any]) -> Any:
            embeds = kwargs["inputs_embeds"].clone()
            if embeds.shape[1] == cut.shape[1]:
                embeds[cut] = 3.0
            return args, kwargs | {"inputs_embeds": embeds}

        hook = language_model.register_forward_pre_hook(spoil, with_kwargs=True)
        with without_tokens(tiny, cut):
            spoilt = short(tiny, images, prompts)
        unmasked = short(tiny, images, prompts)
        hook.remove()
        assert spoilt == wanted
        assert unmasked != wanted

    def test_another_batch_is_refused(self, tiny: VisionLanguageModel) -> None:
        images, prompts = asked(Numbers(3))
        cut = CleanSight().look(tiny, images, prompts).pruned
        with pytest.raises(PcvrError, match="in one batch"), without_tokens(tiny, cut):
            generate(tiny, images, prompts, 3, batch_size=2)


class TestCleanSightAnswers:
    def test_only_the_suspicious_are_answered_anew(self, vlm: VisionLanguageModel) -> None:
        data = Numbers(6)
        images, prompts = asked(data)
        rule = CleanSight(fraction=0.9)
        state = rule.calibrate(vlm, data)
        found = rule.distances(vlm, images, prompts, state)
        assert found == pytest.approx(state["cleansight"].scores, rel=1e-3)
        border = float(np.median(found))
        state = {"cleansight": replace(state["cleansight"], threshold=border)}
        plain = short(vlm, images, prompts)
        with without_tokens(vlm, rule.look(vlm, images, prompts).pruned):
            pruned = short(vlm, images, prompts)
        assert pruned != plain
        answers = rule.answer(vlm, images, prompts, short, state)
        assert answers == [p if d > border else t for d, p, t in zip(found, pruned, plain, strict=True)]

    def test_nothing_suspicious_and_nothing_asked(self, tiny: VisionLanguageModel) -> None:
        data = Numbers(3)
        rule = CleanSight()
        state = rule.calibrate(tiny, data)
        calm = {"cleansight": replace(state["cleansight"], threshold=np.inf)}
        assert rule.answer(tiny, *asked(data), short, calm) == short(tiny, *asked(data))
        assert rule.answer(tiny, [], [], short, state) == []
        alarmed = {"cleansight": replace(state["cleansight"], threshold=-1.0)}
        assert len(rule.answer(tiny, *asked(data), short, alarmed)) == 3
