"""RACER: region means and the inner maximum against other calculations, its stage, three families, bad input."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.functional import cross_entropy

import pcvr
from pcvr import PcvrError, TrainConfig, VisionLanguageModel, finetune, get_defense
from pcvr.defenses import RACER
from pcvr.defenses.baselines.crow import decoder_layers, recorded_layers
from pcvr.defenses.baselines.racer import STAGE, pairs_between, region_inconsistency, regions_of
from pcvr.defenses.context import TrainingContext
from pcvr.models.encode import Batch
from tests.families import write
from tests.rivals import FAMILIES, SHORT, Calls, begun, step_down
from tests.tiny import Numbers


@pytest.fixture(scope="module", params=FAMILIES)
def vlm(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> VisionLanguageModel:
    return pcvr.load(write(request.param, tmp_path_factory.mktemp("families") / "model"), device="cpu")


def by_hand(states: np.ndarray, visual: np.ndarray, text: np.ndarray, weights: tuple[float, float]) -> float:
    """The weighted region means of ``states [L, B, T, D]``, token by token."""
    found = []
    for lower, upper in pairwise(states):
        for i in range(states.shape[1]):
            for weight, region in zip(weights, (visual, text), strict=True):
                turns = [
                    1 - lower[i, t] @ upper[i, t] / np.linalg.norm(lower[i, t]) / np.linalg.norm(upper[i, t])
                    for t in region[i].nonzero()[0]
                ]
                found.append(weight * np.mean(turns) if turns else 0.0)
    return 2 * float(np.mean(found))


class TestFormula:
    @settings(max_examples=40, deadline=None)
    @given(st.integers(2, 4), st.integers(1, 3), st.integers(2, 7), st.integers(0, 9999))
    def test_against_a_loop(self, layers: int, batch: int, length: int, seed: int) -> None:
        rng = np.random.default_rng(seed)
        states = rng.normal(size=(layers, batch, length, 4))
        kind = rng.integers(0, 3, (batch, length))  # padding, visual, text
        visual, text = kind == 1, kind == 2
        made = [torch.from_numpy(s) for s in states]
        regions = (torch.from_numpy(visual), torch.from_numpy(text))
        found = region_inconsistency(list(pairwise(made)), regions, (1.0, 3.0)).item()
        assert found == pytest.approx(by_hand(states, visual, text, (1.0, 3.0)), abs=1e-5)
        assert 0 <= found <= 8

    def test_each_region_has_its_own_count(self) -> None:
        """Ninety still visual tokens do not hide ten text tokens that all turn back: I is 3 * 2, a plain mean 0.2."""
        lower = torch.ones(1, 100, 2)
        upper = lower.clone()
        upper[:, 90:] = -1
        visual = torch.arange(100)[None] < 90
        assert region_inconsistency([(lower, upper)], (visual, ~visual), (1.0, 3.0)).item() == pytest.approx(6)
        assert region_inconsistency([(lower, upper)], (visual, ~visual), (1.0, 0.0)).item() == pytest.approx(
            0, abs=1e-6
        )

    @pytest.mark.parametrize(
        ("layers", "window", "expected"),
        [
            (4, (0.5, 1), [1, 2]),
            (4, (0, 1), [0, 1, 2]),
            (32, (0.5, 1), list(range(15, 31))),
            (2, (0.5, 1), [0]),
            (1, (0, 1), []),
        ],
    )
    def test_the_window(self, layers: int, window: tuple[float, float], expected: list[int]) -> None:
        assert pairs_between(layers, window) == expected


class TestInnerMaximum:
    def test_regions(self, vlm: VisionLanguageModel) -> None:
        run = begun(vlm, samples=3)
        batch = run.data.batch([0, 1, 2])
        assert (batch["attention_mask"] == 0).any(), "there is padding"
        visual, text = regions_of(run.vlm, batch)
        assert not (visual & text).any()
        assert torch.equal(visual | text, batch["attention_mask"] > 0)
        assert (visual.sum(1) > 1).all() and (text.sum(1) > 1).all()
        with recorded_layers(run.vlm) as passed:
            run.forward(batch)
        assert passed.call["inputs_embeds"].shape[:2] == visual.shape, "regions fit the language model's input"
        tokens: list[torch.Tensor] = []
        connector = run.vlm.family.part(run.vlm.model, "connector")
        hook = connector.register_forward_hook(lambda _m, _i, output: tokens.append(output.detach()))
        with recorded_layers(run.vlm) as passed:
            run.forward(batch)
        hook.remove()
        shown = passed.call["inputs_embeds"][visual]
        assert torch.allclose(shown, tokens[0].reshape(shown.shape), atol=1e-5), "these are the connector's tokens"

    def test_signed_ascent_against_a_loop(self, vlm: VisionLanguageModel) -> None:
        """The language model alone, with a shift of its own, K = 3."""
        run = begun(vlm, samples=3)
        run.vlm.model.eval()
        rule, batch = RACER(ascent=3, epsilon=0.03), run.data.batch([0, 1])
        regions = regions_of(run.vlm, batch)
        with recorded_layers(run.vlm) as plain:
            run.forward(batch)
        embeds = plain.call["inputs_embeds"].detach()
        speaker = run.vlm.family.part(run.vlm.model, "language_model")

        def rough(shift: torch.Tensor) -> torch.Tensor:
            kept: list[torch.Tensor] = []

            def keep(_module: Any, _inputs: Any, output: Any) -> None:
                kept.append(output[0] if isinstance(output, tuple) else output)

            hooks = [layer.register_forward_hook(keep) for layer in decoder_layers(run.vlm)]
            speaker(inputs_embeds=embeds + shift, attention_mask=batch["attention_mask"])
            for hook in hooks:
                hook.remove()
            chosen = [(kept[k], kept[k + 1]) for k in pairs_between(len(kept), rule.window)]
            return region_inconsistency(chosen, regions, (1, 3))

        shift = torch.zeros_like(embeds)
        values = []
        for _ in range(3):
            shift = shift.detach().requires_grad_()
            values.append(rough(shift))
            (slope,) = torch.autograd.grad(values[-1], shift)
            shift = shift + 0.01 * slope.sign()
        found = rule.worst_shift(run.vlm, plain.call, regions)
        assert torch.allclose(found, shift.detach(), atol=1e-6)
        assert found.abs().max() <= 0.03 + 1e-6 and not found.requires_grad
        assert rough(found).item() > values[0].item(), "it is worse there"
        there = batch["attention_mask"] > 0
        assert (found[~there] == 0).all() or (~there).sum() == 0, "padding has no say"

        run.stage = STAGE
        said = run.forward(batch)
        wanted = cross_entropy(said.logits, said.targets) + rough(found)
        loss = rule.loss(run, batch)
        assert loss.item() == pytest.approx(wanted.item(), rel=1e-4)
        assert run.log["layers apart"] == pytest.approx(rough(found).item(), rel=1e-4)
        assert all(p.grad is None for p in run.vlm.model.parameters()), "the ascent leaves no gradient"
        loss.backward()
        trained = {
            n
            for n, p in run.vlm.model.named_parameters()
            if p.requires_grad and p.grad is not None and p.grad.abs().sum() > 0
        }
        assert any(run.vlm.family.connector in n for n in trained), (
            "the embeddings of the last pass keep their gradient"
        )

    def test_a_step_down_makes_the_worst_case_better(self, tiny: VisionLanguageModel) -> None:
        run, rule = begun(tiny), RACER(ascent=3, alpha=1e3, epsilon=1e-3)
        run.stage, batch = STAGE, run.data.batch([0, 1, 2, 3])
        rule.loss(run, batch).backward()
        before = run.log["layers apart"]
        step_down(run, 1e-2 / 1e3)
        rule.loss(run, batch)
        assert run.log["layers apart"] < before

    def test_without_weight_or_shift(self, tiny: VisionLanguageModel) -> None:
        run = begun(tiny)
        run.stage, batch = STAGE, run.data.batch([0, 1])
        plain = get_defense("none").loss(run, batch).item()
        assert RACER(alpha=0).loss(run, batch).item() == plain
        calls = {"n": 0}
        hook = run.vlm.family.part(run.vlm.model, "language_model").register_forward_hook(
            lambda *_: calls.update(n=calls["n"] + 1)
        )
        RACER(epsilon=0).loss(run, batch)
        assert calls["n"] == 2, "no ascent"
        calls["n"] = 0
        RACER(ascent=4).loss(run, batch)
        hook.remove()
        assert calls["n"] == 6, "one plain pass, K for the ascent, one at the end"


class TestStages:
    def test_its_stages(self, vlm: VisionLanguageModel) -> None:
        run = begun(vlm)
        calls = Calls(run)
        rule = RACER(steps=3, samples=4, batch_size=2, rate=0.5)
        rule.begin(run)
        rule.train(run, calls)
        first, second = calls.made
        assert (first.name, first.fraction, first.clean) == ("train", 1.0, False)
        assert (second.name, second.steps(4), second.rate, second.clean) == (STAGE, 3, 0.5, True)
        assert list(second.rows or []) == [0, 1, 2, 3] and second.batch_size == 2 and not second.fresh

    def test_the_repair_follows_plain_fine_tuning_on_clean_samples_only(self, tiny: VisionLanguageModel) -> None:
        seen: list[int] = []

        class Spying(RACER):
            def worst_shift(self, vlm: Any, call: Any, regions: Any) -> Any:
                seen.append(len(call["inputs_embeds"]))
                return super().worst_shift(vlm, call, regions)

        rule = Spying(ascent=2, steps=3, batch_size=2)
        result = finetune(tiny, Numbers(), rule, SHORT, clean=Numbers(5), progress=False)
        plain = finetune(tiny, Numbers(), "none", SHORT, progress=False)
        assert [h["loss"] for h in result.history[:4]] == [h["loss"] for h in plain.history]
        assert len(result.history) == 7 and all("layers apart" in h for h in result.history[4:])
        assert seen == [2, 2, 1], "the batches of an epoch of five clean samples"

    @pytest.mark.parametrize("checkpointing", [False, True])
    def test_every_family_trains(self, vlm: VisionLanguageModel, checkpointing: bool) -> None:
        config = TrainConfig(max_steps=2, batch_size=4, lora_r=2, lora_alpha=2, gradient_checkpointing=checkpointing)
        rule = RACER(steps=2, ascent=2)
        result = finetune(vlm, Numbers(6), rule, config, clean=Numbers(5), progress=False)
        assert all(math.isfinite(h["loss"]) for h in result.history) and len(result.history) == 4
        hooks = [h for m in result.model.model.modules() for h in {**m._forward_hooks, **m._forward_pre_hooks}.values()]
        assert not [hook for hook in hooks if "pcvr.defenses" in getattr(hook, "__module__", "")]

    def test_clean_samples_are_asked_for(self, tiny: VisionLanguageModel) -> None:
        with pytest.raises(PcvrError, match="'racer' needs clean data"):
            finetune(tiny, Numbers(), "racer", SHORT, progress=False)

    def test_a_window_without_layers(self, tiny: VisionLanguageModel) -> None:
        run: TrainingContext = begun(tiny)
        with pytest.raises(PcvrError, match=r"^window is \(0.0, 0.1\), and no two successive layers of the 4"):
            RACER(window=(0.0, 0.1)).begin(run)
        del decoder_layers(run.vlm)[1:]
        with pytest.raises(PcvrError, match="no two successive layers of the 1 "):
            RACER().begin(run)

    def test_a_batch_of_one(self, tiny: VisionLanguageModel) -> None:
        run = begun(tiny)
        run.stage = STAGE
        batch: Batch = run.data.batch([3])
        assert math.isfinite(RACER(ascent=2).loss(run, batch).item())


@pytest.mark.parametrize(
    ("option", "values"),
    [
        ("alpha", (-1, math.nan, math.inf)),
        ("epsilon", (-0.1, math.nan)),
        ("ascent", (0, 1.5)),
        ("visual_weight", (-1, math.nan)),
        ("text_weight", (-1, math.inf)),
        ("window", ((0.5, 0.5), (-0.1, 1.0), (0.2, 1.2), 3)),
        ("samples", (0,)),
        ("steps", (0, True)),
        ("batch_size", (0, 2.5)),
        ("rate", (0, -1, math.nan)),
    ],
)
def test_an_option_out_of_range_is_named(option: str, values: tuple[Any, ...]) -> None:
    for value in values:
        with pytest.raises(PcvrError, match=f"^{option} is "):
            get_defense("racer", **{option: value})
