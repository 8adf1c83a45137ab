"""Rival defences that change the loss or stop early: formulas against other calculations, three families, bad input."""

from __future__ import annotations

import math
import sys
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import jensenshannon
from scipy.special import log_softmax, softmax
from torch import Tensor
from transformers import TrainerCallback

import pcvr
from pcvr import PatchView, PcvrError, PlainSFT, TrainConfig, VisionLanguageModel, finetune, get_defense
from pcvr.defenses import Consistency, Crow, Defense, EarlyStop, RobustIT, StagePlan
from pcvr.defenses.baselines.crow import decoder_layers, inconsistency, recorded_layers
from pcvr.defenses.context import TrainingContext
from pcvr.models.encode import IGNORE, EncodedData
from pcvr.models.forward import AnswerLogits
from pcvr.training.backdoor_watch import StopAfter
from pcvr.training.finetune import with_adapter
from tests.families import blip2, loud, write
from tests.rivals import Calls, Masked, step_down
from tests.tiny import Numbers

RULES = ("early_stop", "consistency", "robustit", "crow")
SIX = TrainConfig(max_steps=6, batch_size=4, lora_r=2, lora_alpha=2)


def run_on(vlm: VisionLanguageModel) -> TrainingContext:
    """A run about to begin: adapter on, five steps, pictures as pictures."""
    ready = with_adapter(vlm.copy(), TrainConfig())
    return TrainingContext(vlm=ready, data=EncodedData(ready, Numbers()), steps=5, seed=0)


@pytest.fixture
def run(tiny: VisionLanguageModel) -> TrainingContext:
    return run_on(tiny)


def mean_loss(said: AnswerLogits) -> float:
    """Mean cross-entropy in NumPy."""
    told = log_softmax(said.logits.detach().double().numpy(), 1)
    return float(-told[np.arange(len(told)), said.targets.numpy()].mean())


class TestEarlyStop:
    def test_it_is_plain_fine_tuning_part_way_through(self, tiny: VisionLanguageModel) -> None:
        whole = finetune(tiny, Numbers(), config=SIX, progress=False)
        half = finetune(tiny, Numbers(), EarlyStop(0.5), SIX, progress=False)
        stopped = finetune(tiny, Numbers(), config=SIX, callbacks=[StopAfter(3)], progress=False)
        assert [{k: h[k] for k in ("step", "loss", "learning_rate")} for h in half.history] == [
            {k: h[k] for k in ("step", "loss", "learning_rate")} for h in whole.history[:3]
        ]
        assert half.history[-1]["learning_rate"] > half.config.peak / 3, "a plan of three steps would have ended at 0"
        for mine, other in zip(half.model.model.parameters(), stopped.model.model.parameters(), strict=True):
            assert torch.equal(mine, other)

    @pytest.mark.parametrize(("share", "steps"), [(0.01, 1), (0.35, 2), (0.99, 6)])
    def test_how_many_steps_that_is(self, tiny: VisionLanguageModel, share: float, steps: int) -> None:
        assert len(finetune(tiny, Numbers(4), EarlyStop(share), SIX, progress=False).history) == steps

    def test_who_stops_earlier_is_heard(self, tiny: VisionLanguageModel) -> None:
        stop: TrainerCallback = StopAfter(1)
        result = finetune(tiny, Numbers(4), EarlyStop(0.5), SIX, callbacks=[stop], progress=False)
        assert len(result.history) == 1


class TestConsistency:
    @pytest.mark.parametrize("weight", [0.0, 1.0, 2.5])
    def test_against_scipy(self, run: TrainingContext, weight: float) -> None:
        rule, batch = Consistency(weight, PatchView("noise", 0.5)), run.data.batch([0, 1, 2, 3])
        found = rule.loss(run, batch).item()
        run.generator.manual_seed(run.seed)
        said, seen = run.forward(batch), run.forward(run.view(batch, rule.view))
        p, q = (softmax(each.logits.detach().double().numpy(), 1) for each in (said, seen))
        apart = jensenshannon(p, q, axis=1) ** 2
        owner = said.owner.numpy()
        expected = mean_loss(said) + weight * np.mean([apart[owner == i].mean() for i in range(4)])
        assert found == pytest.approx(expected, rel=1e-4)
        assert weight == 0 or found > mean_loss(said) + 1e-4

    def test_a_step_down_brings_the_views_together(self, run: TrainingContext) -> None:
        rule, batch = Consistency(1e4, PatchView("mean", 1.0)), run.data.batch([0, 1, 2, 3])
        rule.loss(run, batch).backward()
        before = run.log["views apart"]
        step_down(run, 1e-3 / 1e4)
        rule.loss(run, batch)
        assert run.log["views apart"] < before


def reference(run: TrainingContext, batch: dict[str, Tensor], shift: Tensor | None) -> tuple[Tensor, Tensor]:
    """``(C, e)`` by the language model alone, from the model's own hidden states; `shift` is added to ``e``.

    Its last state is normed, but by a norm of unit weights, which only scales a token and so turns none.
    """
    model = run.vlm.family.part(run.vlm.model, "language_model")
    given: list[Tensor] = []
    hook = model.register_forward_pre_hook(lambda _m, _a, kw: given.append(kw["inputs_embeds"]), with_kwargs=True)
    run.forward(batch)
    hook.remove()
    embeds = given[0].detach().requires_grad_()
    shifted = embeds if shift is None else embeds + shift
    states = model(inputs_embeds=shifted, attention_mask=batch["attention_mask"], output_hidden_states=True)
    assert all(getattr(model, "norm").weight == 1)  # noqa: B009  # what the last state relies on
    total, count = torch.zeros(()), 0
    for a, b in zip(states.hidden_states[1:-1], states.hidden_states[2:], strict=True):
        for i, row in enumerate(batch["attention_mask"]):
            for t in range(int(row.sum())):
                total = total + 1 - (a[i, t] @ b[i, t]) / (a[i, t].norm() * b[i, t].norm())
                count += 1
    return total / count, embeds


class TestCrow:
    def test_the_loss_and_its_gradient_against_the_language_model_alone(self, run: TrainingContext) -> None:
        batch = run.data.batch([0, 1, 2])
        assert (batch["attention_mask"] == 0).any(), "there is padding to leave out"
        plain, embeds = reference(run, batch, None)
        (slope,) = torch.autograd.grad(plain, embeds)
        worse, _ = reference(run, batch, 1e-3 * slope.sign())
        assert worse.item() > plain.item() + 1e-4
        loss = Crow(alpha=2.0, epsilon=1e-3).loss(run, batch)
        trained = [p for n, p in run.vlm.model.named_parameters() if p.requires_grad and "language_model" in n]
        assert all(p.grad is None for p in run.vlm.model.parameters()), "the shift's gradient stays out of the rest"
        assert loss.item() == pytest.approx(mean_loss(run.forward(batch)) + 2 * worse.item(), rel=1e-4)
        found = torch.autograd.grad(loss - PlainSFT().loss(run, batch), trained)
        expected = torch.autograd.grad(2 * worse, trained, allow_unused=True)
        # Through the embeddings nothing more comes to the language model's own weights: they are fixed points there.
        for mine, theirs in zip(found, expected, strict=True):
            assert torch.allclose(mine, torch.zeros_like(mine) if theirs is None else theirs, atol=1e-4)

    def test_no_shift_is_the_plain_pass(self, run: TrainingContext) -> None:
        batch = run.data.batch([0, 1, 2])
        Crow(epsilon=0).loss(run, batch)
        assert run.log["layers apart"] == pytest.approx(reference(run, batch, None)[0].item(), rel=1e-4)

    @given(st.integers(2, 5), st.integers(1, 3), st.integers(1, 6), st.integers(0, 10_000))
    @settings(max_examples=40, deadline=None)
    def test_inconsistency_against_a_loop(self, layers: int, batch: int, length: int, seed: int) -> None:
        rng = np.random.default_rng(seed)
        states = rng.normal(size=(layers, batch, length, 4))
        mask = rng.random((batch, length)) < 0.7
        turns = [
            1 - a[i, t] @ b[i, t] / np.linalg.norm(a[i, t]) / np.linalg.norm(b[i, t])
            for a, b in pairwise(states)
            for i, t in zip(*mask.nonzero(), strict=True)
        ]
        found = inconsistency([torch.from_numpy(s) for s in states], torch.from_numpy(mask).long()).item()
        assert found == pytest.approx(np.mean(turns) if turns else 0, abs=1e-5)

    def test_the_last_norm_and_padding_have_no_say(self, run: TrainingContext) -> None:
        batch = run.data.batch([0, 1])
        Crow().loss(run, batch)
        before = run.log["layers apart"]
        with torch.no_grad():
            run.vlm.family.part(run.vlm.model, "language_model").norm.weight.uniform_(0.1, 3)  # type: ignore[union-attr, operator]
        longer = dict(batch)
        for key, value in (("input_ids", 0), ("attention_mask", 0), ("labels", IGNORE)):
            longer[key] = torch.nn.functional.pad(batch[key], (0, 5), value=value)
        Crow().loss(run, longer)
        assert run.log["layers apart"] == pytest.approx(before, rel=1e-4)

    def test_alpha_0_is_plain(self, run: TrainingContext) -> None:
        batch = run.data.batch([0, 1])
        assert Crow(alpha=0).loss(run, batch).item() == PlainSFT().loss(run, batch).item()

    def test_on_clean_data_it_follows_plain_fine_tuning(self, tiny: VisionLanguageModel) -> None:
        plain = finetune(tiny, Numbers(), config=SIX, progress=False)
        rule = Crow(on="clean", fraction=0.5)
        both = finetune(tiny, Numbers(), rule, SIX, clean=Numbers(5), progress=False)
        assert [h["loss"] for h in both.history[:6]] == [h["loss"] for h in plain.history]
        assert [h["step"] for h in both.history] == list(range(1, 10))
        assert all("layers apart" in h for h in both.history[6:]) and "layers apart" not in both.history[5]
        with pytest.raises(PcvrError, match=r"on='clean' needs clean data: give finetune\(clean=...\)"):
            finetune(tiny, Numbers(), rule, SIX, progress=False)

    def test_the_second_stage_is_on_the_clean_samples(self, run: TrainingContext) -> None:
        calls = Calls(run)
        Crow(on="clean", fraction=0.3, rate=0.2).train(run, calls)
        assert calls.made == [StagePlan(), StagePlan("crow", fraction=0.3, rate=0.2, clean=True)]

    def test_a_single_layer_is_refused(self, run: TrainingContext) -> None:
        layers = decoder_layers(run.vlm)
        del layers[1:]
        with pytest.raises(PcvrError, match="the language model has 1: take a deeper one"):
            Crow().begin(run)

    def test_opt_inside_blip_2(self) -> None:
        from transformers import Blip2Config, Blip2ForConditionalGeneration, OPTConfig

        from pcvr.models.families import BLIP2

        like, processor = blip2()
        size = {"hidden_size": 32, "ffn_dim": 64, "num_hidden_layers": 3, "num_attention_heads": 4}
        text = OPTConfig(vocab_size=like.config.text_config.vocab_size, word_embed_proj_dim=32, **size)
        parts = {k: getattr(like.config, k) for k in ("vision_config", "qformer_config", "image_token_index")}
        config = Blip2Config(**parts, num_query_tokens=like.config.num_query_tokens, text_config=text)
        run = run_on(VisionLanguageModel("opt", loud(Blip2ForConditionalGeneration(config)).eval(), processor, BLIP2))
        with recorded_layers(run.vlm) as watch:
            run.forward(run.data.batch([0, 1]))
        assert [tuple(s.shape) for s in watch.layers] == [tuple(watch.shift.shape)] * 3
        assert math.isfinite(Crow().loss(run, run.data.batch([0, 1])).item())


@pytest.fixture(scope="module", params=["llava", "blip-2", "idefics3"])
def family(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> VisionLanguageModel:
    return pcvr.load(write(request.param, tmp_path_factory.mktemp("rivals") / "model"), device="cpu")


@pytest.mark.parametrize("name", RULES)
def test_every_family_trains(family: VisionLanguageModel, name: str) -> None:
    before = len(list(family.model.parameters()))
    for checkpointing in (False, True) if name == "crow" else (False,):
        config = TrainConfig(max_steps=3, batch_size=4, lora_r=2, lora_alpha=2, gradient_checkpointing=checkpointing)
        result = finetune(family, Numbers(6), name, config, progress=False)
        assert [math.isfinite(h["loss"]) for h in result.history] == [True] * (2 if name == "early_stop" else 3)
    hooks = [h for m in result.model.model.modules() for h in {**m._forward_hooks, **m._forward_pre_hooks}.values()]
    assert not [hook for hook in hooks if "pcvr.defenses" in getattr(hook, "__module__", "")]
    assert len(list(family.model.parameters())) == before


@pytest.mark.parametrize("name", RULES)
def test_a_batch_of_one(run: TrainingContext, name: str) -> None:
    rule = get_defense(name)
    rule.begin(run)
    for _ in range(2):
        assert math.isfinite(rule.loss(run, run.data.batch([3])).item())


@pytest.mark.parametrize("name", RULES)
def test_no_answer_at_all_is_one_sentence(
    tiny: VisionLanguageModel, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.modules["pcvr.training.finetune"], "EncodedData", Masked)
    with pytest.raises(PcvrError, match=r"the loss is nan at step 0: .* check the data for empty answers"):
        finetune(tiny, Numbers(4), name, SIX, progress=False)


@pytest.mark.parametrize(
    ("rule", "field", "values"),
    [
        (EarlyStop, "fraction", (0, 1, -0.5, 1.5, math.nan, True, "0.5")),
        (Consistency, "weight", (-1, math.nan, math.inf, "1")),
        (RobustIT, "most", (0, 1.1, math.nan)),
        (RobustIT, "colour", (-0.1, 1.1)),
        (RobustIT, "words", (-0.1, 2)),
        (RobustIT, "sharpest", (-0.1, 1.5, math.nan)),
        (RobustIT, "momentum", (0, 1.1)),
        (RobustIT, "operators", ((), "swap")),
        (Crow, "alpha", (-1, math.nan, math.inf)),
        (Crow, "epsilon", (-0.1, math.nan)),
        (Crow, "fraction", (0, 1.1)),
        (Crow, "rate", (0, -1, math.nan)),
    ],
)
def test_an_option_out_of_range_is_named(rule: type[Defense], field: str, values: tuple[Any, ...]) -> None:
    for value in values:
        with pytest.raises(PcvrError, match=f"^{field} is .*: give "):
            rule(**{field: value})


def test_unknown_choices_get_a_suggestion() -> None:
    with pytest.raises(PcvrError, match="unknown view operator in operators 'swop': did you mean 'swap'"):
        get_defense("robustit", operators=["swop"])
    with pytest.raises(PcvrError, match="unknown choice of on 'cleen': did you mean 'clean'"):
        Crow(on="cleen")
    assert [type(get_defense(name)) for name in RULES] == [EarlyStop, Consistency, RobustIT, Crow]
