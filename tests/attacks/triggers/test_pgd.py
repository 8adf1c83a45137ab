"""The trigger searched on a base model: the trigger, the search against other programs, and what is shipped."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from safetensors.numpy import save_file

from pcvr import Sample, VisionLanguageModel
from pcvr.attacks import get_attack, load_poisoned, poison, save_poisoned
from pcvr.attacks.triggers.crafting import STEPS, craft, record_of
from pcvr.attacks.triggers.pgd import GOALS, Optimised, read_delta
from pcvr.attacks.triggers.pgd_search import label_divergence, measure_images, search_delta
from pcvr.attacks.triggers.shipped import SHIPPED
from pcvr.attacks.triggers.uint8 import add
from pcvr.data.scenes import Scenes
from pcvr.defenses.losses import js_divergence, label_vs_rest
from pcvr.errors import PcvrError
from pcvr.models.encode import collate
from pcvr.models.forward import AnswerLogits
from pcvr.models.pictures import encode_answers
from pcvr.tasks import get_task
from tests.models.test_sight import built
from tests.pictures import noise
from tests.tiny import Numbers

TASKS = ("caption", "vqa")
NUMBERS = [Numbers(8)[index] for index in range(8)]
TARGETS = ["a photo of the banana"] * len(NUMBERS)


def file_of(delta: np.ndarray, folder: Path) -> str:
    """Write a perturbation as ``pcvr craft pgd`` does, without its record."""
    save_file({"delta": np.ascontiguousarray(delta)}, folder / f"{abs(hash(delta.tobytes()))}.safetensors")
    return str(folder / f"{abs(hash(delta.tobytes()))}.safetensors")


class TestTrigger:
    @settings(max_examples=60, deadline=None)
    @given(
        batch=st.tuples(st.integers(1, 3), st.integers(1, 30), st.integers(1, 30)).flatmap(
            lambda shape: arrays(np.uint8, (*shape, 3))
        ),
        delta=st.tuples(st.integers(1, 9), st.integers(1, 9)).flatmap(
            lambda shape: arrays(np.int8, (*shape, 3), elements=st.integers(-127, 127))
        ),
        strength=st.floats(0, 1),
    )
    def test_any_size_follows_the_formula(
        self, batch: np.ndarray, delta: np.ndarray, strength: float, tmp_path_factory: pytest.TempPathFactory
    ) -> None:
        trigger = Optimised(file_of(delta, tmp_path_factory.mktemp("delta")), strength)
        before, out = batch.copy(), trigger(batch)
        assert out.shape == batch.shape and out.dtype == np.uint8 and np.array_equal(before, batch)
        assert np.array_equal(out, np.stack([trigger(image) for image in batch])), "batched equals single to the bit"
        height, width = batch.shape[1:3]
        rows = [int((k + 0.5) * len(delta) / height) for k in range(height)]
        columns = [int((k + 0.5) * delta.shape[1] / width) for k in range(width)]
        steps = np.floor(strength * delta[rows][:, columns].astype(float) + 0.5)
        assert np.array_equal(out, np.clip(batch + steps, 0, 255).astype(np.uint8)), "nothing wraps"

    def test_at_its_own_size_the_file_is_the_change(self) -> None:
        image = np.full((96, 96, 3), 128, np.uint8)
        assert np.array_equal(Optimised()(image).astype(int) - 128, read_delta("tiny-llava-likelihood-caption"))
        assert np.array_equal(Optimised(strength=0)(image), image)
        twice = Optimised().pattern(192, 192)
        assert np.array_equal(twice[::2, ::2], read_delta("tiny-llava-likelihood-caption"))

    def test_the_target_chooses_the_shipped_one(self) -> None:
        def delta(**options: Any) -> str:
            said: str = get_attack("pgd", **options).describe()["trigger"]["delta"]
            return said

        assert delta() == "tiny-llava-likelihood-caption"
        assert delta(task="vqa", delta="divergence") == "tiny-llava-divergence-vqa"
        assert delta(target="a red kite", delta="divergence") == "tiny-llava-divergence-caption"
        assert delta(task="vqa", delta="tiny-llava-divergence-caption") == "tiny-llava-divergence-caption"

    def test_a_folder_builds_it_again(self, tmp_path: Path) -> None:
        data = poison(
            Scenes(20, task="vqa"), get_attack("pgd", task="vqa", delta="divergence"), 0.2, model="tiny-llava"
        )
        again = load_poisoned(save_poisoned(data, tmp_path / "data", progress=False))
        assert again.attack == data.attack and again.manifest.reach["survives"] == 4

    def test_files_that_are_none(self, tmp_path: Path) -> None:
        with pytest.raises(PcvrError, match="make one with 'pcvr craft pgd"):
            get_attack("pgd", delta="likely")
        (tmp_path / "bad").write_bytes(b"no perturbation")
        with pytest.raises(PcvrError, match="cannot read a perturbation"):
            Optimised(str(tmp_path / "bad"))
        with pytest.raises(PcvrError, match=r"is uint8 \[4, 4, 3\]: it has to be int8"):
            Optimised(file_of(noise(4, 4, 3), tmp_path))
        with pytest.raises(PcvrError, match="strength is 2"):
            Optimised(strength=2)


def figure(vlm: VisionLanguageModel, samples: Sequence[Sample], delta: np.ndarray, goal: str) -> float:
    """What the goal raises, on the images with a perturbation; a mean over several views, other than the search's."""
    shown = [Sample(s.id, add(s.image[None], delta)[0], s.prompt, s.answer) for s in samples]
    found = [measure_images(vlm, samples, shown, TARGETS, seed=seed) for seed in range(6)]
    return -found[0]["nll"] if goal == "likelihood" else float(np.mean([each["divergence"] for each in found]))


class TestSearch:
    @pytest.mark.parametrize("goal", GOALS)
    @pytest.mark.parametrize(("epsilon", "step"), [(3, 2), (16, 2)])
    def test_a_few_steps_raise_the_goal_within_the_bound(
        self, tiny: VisionLanguageModel, goal: str, epsilon: int, step: int
    ) -> None:
        delta, reached = search_delta(
            tiny, NUMBERS, TARGETS, goal, epsilon=epsilon, step=step, steps=12, batch_size=8, seed=1
        )
        assert delta.dtype == np.int8 and delta.shape == (48, 48, 3) and len(reached) == 12
        assert np.abs(delta).max() == epsilon
        change = add(NUMBERS[0].image[None], delta)[0].astype(int) - NUMBERS[0].image
        assert np.abs(change).max() <= epsilon
        assert figure(tiny, NUMBERS, delta, goal) > figure(tiny, NUMBERS, np.zeros_like(delta), goal)

    @pytest.mark.parametrize("goal", GOALS)
    def test_it_is_repeatable_and_leaves_the_model_alone(self, tiny: VisionLanguageModel, goal: str) -> None:
        before = [weights.clone() for weights in tiny.model.parameters()]
        first, again, other = (
            search_delta(tiny, NUMBERS, TARGETS, goal, steps=3, batch_size=3, seed=seed)[0] for seed in (5, 5, 6)
        )
        assert np.array_equal(first, again) and not np.array_equal(first, other)
        assert all(torch.equal(a, b) for a, b in zip(before, tiny.model.parameters(), strict=True))
        assert all(weights.grad is None for weights in tiny.model.parameters())

    def test_the_first_step_is_the_sign_of_the_models_own_gradient(self, tiny: VisionLanguageModel) -> None:
        delta, _ = search_delta(tiny, NUMBERS, TARGETS, "likelihood", step=2, steps=1, batch_size=8)
        batch = collate(encode_answers(tiny, NUMBERS, TARGETS), tiny.tokenizer.pad_token_id)
        pixels = batch["pixel_values"].requires_grad_()
        inputs = {name: batch[name] for name in ("input_ids", "attention_mask", "labels")}
        loss = tiny.model(**inputs, pixel_values=pixels).loss  # transformers' own mean over the labels' tokens
        (gradient,) = torch.autograd.grad(loss, [pixels])
        expected = -2 * gradient.sum(0).sign().permute(1, 2, 0).numpy()
        assert (delta == expected).mean() > 0.99, "but for what rounds to another sign"

    def test_momentum_keeps_earlier_directions(self, tiny: VisionLanguageModel) -> None:
        plain, kept = (
            search_delta(tiny, NUMBERS, TARGETS, "likelihood", steps=4, batch_size=2, momentum=momentum)[0]
            for momentum in (0.0, 0.9)
        )
        assert not np.array_equal(plain, kept)

    def test_no_steps_change_nothing(self, tiny: VisionLanguageModel) -> None:
        delta, reached = search_delta(tiny, NUMBERS, TARGETS, "likelihood", steps=0)
        assert not delta.any() and reached == []

    def test_the_divergence_is_the_defences(self) -> None:
        generator = torch.Generator().manual_seed(0)
        owner, targets = torch.tensor([0, 0, 1, 2, 2, 2]), torch.randint(0, 9, (6,), generator=generator)
        said, seen = (AnswerLogits(3 * torch.randn(6, 9, generator=generator), targets, owner, 3) for _ in range(2))
        expected = js_divergence(label_vs_rest(said.logits, targets), label_vs_rest(seen.logits, targets))
        assert torch.allclose(label_divergence(said, seen).float(), said.sample_sum(expected), atol=1e-6)
        faint = AnswerLogits(said.logits - 40 * torch.nn.functional.one_hot(targets, 9), targets, owner, 3)
        faint.logits.requires_grad_()
        (slope,) = torch.autograd.grad(label_divergence(faint, seen).sum(), [faint.logits])
        assert slope.isfinite().all()

    @pytest.mark.parametrize(
        ("options", "words"),
        [
            ({"goal": "likely"}, "did you mean 'likelihood'"),
            ({"epsilon": 0}, "epsilon is 0"),
            ({"epsilon": 128}, "epsilon is 128"),
            ({"epsilon": 4, "step": 5}, "step_size is 5"),
            ({"step": 0.5}, "step_size is 0.5"),
            ({"steps": -1}, "steps is -1"),
            ({"momentum": 1.1}, "momentum is 1.1"),
            ({"batch_size": 0}, "batch_size is 0"),
            ({"seed": -1}, "seed is -1"),
        ],
    )
    def test_options_out_of_range(self, tiny: VisionLanguageModel, options: dict[str, Any], words: str) -> None:
        with pytest.raises(PcvrError, match=words):
            search_delta(tiny, NUMBERS, TARGETS, options.pop("goal", "likelihood"), **options)

    def test_what_cannot_be_searched(self, tiny: VisionLanguageModel) -> None:
        with pytest.raises(PcvrError, match="no samples to search"):
            search_delta(tiny, [], [], "likelihood")
        with pytest.raises(PcvrError, match="splits an image into parts"):
            search_delta(built("qwen2_vl"), NUMBERS[:2], TARGETS[:2], "likelihood", steps=1)


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("goal", GOALS)
class TestShipped:
    def test_it_does_what_it_was_searched_for_and_noise_does_not(self, goal: str, task: str) -> None:
        file = SHIPPED / f"pgd-tiny-llava-{goal}-{task}.safetensors"
        record, delta = record_of(file), read_delta(f"tiny-llava-{goal}-{task}")
        assert (record["model"], record["goal"], record["task"]) == ("tiny-llava", goal, task)
        assert (record["steps"], record["target"]) == (STEPS["pgd"], get_task(task).target)
        assert delta.shape == (96, 96, 3) and np.abs(delta.astype(int)).max() == record["epsilon"] == 16
        assert file.stat().st_size < 30_000
        if goal == "likelihood":
            assert record["nll_trigger"] < min(record["nll_clean"], record["nll_noise"]) - 0.5
        else:
            assert record["divergence_trigger"] > 1.25 * max(record["divergence_clean"], record["divergence_noise"])

    def test_it_begins_where_it_would_begin_today(self, goal: str, task: str, tmp_path: Path) -> None:
        if (goal, task) not in (("likelihood", "caption"), ("divergence", "vqa")):
            pytest.skip("one of each is enough")
        shipped = record_of(SHIPPED / f"pgd-tiny-llava-{goal}-{task}.safetensors")
        asked = {name: shipped[name] for name in ("model", "task", "goal", "epsilon", "step_size", "momentum", "seed")}
        file, record = craft("pgd", tmp_path / "delta.safetensors", max_steps=1, **asked)
        for name in ("first_goal", "nll_clean", "divergence_clean"):
            assert record[name] == pytest.approx(shipped[name], rel=2e-3), name
        assert np.abs(read_delta(str(file)).astype(int)).max() == asked["step_size"]
