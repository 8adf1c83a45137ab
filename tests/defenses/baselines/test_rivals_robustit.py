"""RobustIT: sharp channels against NumPy, and what is drawn for each step."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn.functional import cross_entropy

from pcvr import PatchView, PlainSFT, TrainConfig, VisionLanguageModel
from pcvr.defenses import RobustIT
from pcvr.defenses.baselines.robustit import ColouredView, drop_sharp, hide_words
from pcvr.defenses.context import TrainingContext
from pcvr.models.encode import IGNORE, EncodedData
from pcvr.training.finetune import with_adapter
from pcvr.views import OPERATORS
from tests.tiny import Numbers


@pytest.fixture
def run(tiny: VisionLanguageModel) -> TrainingContext:
    """A run about to begin: adapter on, five steps, pictures as pictures."""
    vlm = with_adapter(tiny.copy(), TrainConfig())
    return TrainingContext(vlm=vlm, data=EncodedData(vlm, Numbers()), steps=5, seed=0)


@given(st.integers(1, 6), st.integers(1, 5), st.floats(0.01, 1), st.floats(0.01, 1), st.integers(0, 10_000))
@settings(max_examples=60, deadline=None)
def test_sharp_channels_against_numpy(pictures: int, tokens: int, sharpest: float, momentum: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    mean = passes = None
    running: tuple[Tensor, Tensor] | None = None
    for _ in range(3):
        given = rng.normal(size=(pictures, tokens, 4)).astype(np.float32)
        found, running = drop_sharp(torch.from_numpy(given), running, sharpest, momentum)
        batch_mean = given.reshape(-1, 4).mean(0)
        mean = batch_mean if mean is None else (1 - momentum) * mean + momentum * batch_mean
        peak = np.abs(given - mean).max(1)
        level = np.quantile(peak, 1 - sharpest, axis=0)
        passes = level if passes is None else (1 - momentum) * passes + momentum * level
        for i in range(pictures):
            for d in range(4):
                if abs(peak[i, d] - passes[d]) < 1e-5:
                    continue  # on the border, where rounding decides
                expected = np.full(tokens, mean[d]) if peak[i, d] > passes[d] else given[i, :, d]
                np.testing.assert_allclose(found[i, :, d].numpy(), expected, atol=1e-5)


def test_what_is_dropped_has_no_gradient() -> None:
    tokens = torch.zeros(4, 3, 2)
    tokens[2, 1, 0] = 9.0
    tokens.requires_grad_()
    kept, _ = drop_sharp(tokens, (torch.zeros(2), torch.ones(2)), 0.05, 1e-6)
    kept.sum().backward()
    assert kept[2, :, 0].abs().max() < 1e-4
    assert tokens.grad is not None
    expected = torch.ones(4, 3, 2)
    expected[2, :, 0] = 0
    assert torch.equal(tokens.grad, expected)


def test_a_lone_picture_peaks_only_against_earlier_ones() -> None:
    calm = torch.randn(1, 5, 3, generator=torch.Generator().manual_seed(0))
    kept, running = drop_sharp(calm, None, 0.05, 0.1)
    assert torch.equal(kept, calm)
    spiked = calm.clone()
    spiked[0, 2, 1] = 50.0
    kept, _ = drop_sharp(spiked, running, 0.05, 0.1)
    assert kept[0, :, 1].unique().numel() == 1 and torch.equal(kept[0, :, 0], calm[0, :, 0])


def test_colours_move_by_gain_and_shift() -> None:
    pixels = torch.randn(3, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    fixed = PatchView("mean", 0.25)(pixels, torch.Generator().manual_seed(1))
    still = ColouredView("mean", 0.25, colour=0.0)(pixels, torch.Generator().manual_seed(1))
    moved = ColouredView("mean", 0.25, colour=0.3)(pixels, torch.Generator().manual_seed(1))
    assert torch.equal(still, fixed)
    gains, shifts = [], []
    for before, after in zip(fixed.flatten(0, 1).numpy(), moved.flatten(0, 1).numpy(), strict=True):
        gain, shift = np.polyfit(before.ravel(), after.ravel(), 1)
        np.testing.assert_allclose(after, gain * before + shift, atol=1e-4)
        gains.append(gain)
        shifts.append(shift)
    assert np.ptp(gains) > 0.05 and np.ptp(shifts) > 0.05, "each channel of each picture has its own"
    assert np.abs(np.subtract(gains, 1)).max() <= 0.3001 and np.abs(shifts).max() <= 0.3001


def test_only_words_of_the_prompt_are_hidden(run: TrainingContext) -> None:
    batch, vlm = run.data.batch([0, 1, 2]), run.vlm
    special = {"<image>", *vlm.tokenizer.all_special_tokens}
    tokens = [vlm.tokenizer.convert_ids_to_tokens(row) for row in batch["input_ids"].tolist()]
    word = torch.tensor([[t not in special for t in row] for row in tokens]) & (batch["labels"] == IGNORE)
    word[:, 0] = False
    assert word.any(1).all()
    everything = hide_words(vlm, batch, 1.0, torch.Generator().manual_seed(0))
    assert torch.equal(everything, batch["attention_mask"] * ~word)
    assert torch.equal(hide_words(vlm, batch, 0.0, torch.Generator()), batch["attention_mask"])
    batch["input_ids"][:, 0] = batch["input_ids"][word][0]
    assert hide_words(vlm, batch, 1.0, torch.Generator())[:, 0].all(), "a prompt may begin with a word: that one stays"
    drawn = [hide_words(vlm, batch, 0.3, torch.Generator().manual_seed(i)) for i in range(200)]
    share = 1 - torch.stack(drawn).float().mean(0)[word].mean().item()
    assert share == pytest.approx(0.3, abs=0.04)


def test_each_step_draws_operator_and_share() -> None:
    rule, generator = RobustIT(most=0.4, colour=0.1), torch.Generator().manual_seed(0)
    views = [rule.drawn_view(generator) for _ in range(300)]
    assert {v.operator for v in views} == set(OPERATORS)
    shares = [v.fraction for v in views]
    assert 0 < min(shares) < 0.02 and 0.38 < max(shares) <= 0.4
    assert all(v.colour == 0.1 and v.level == "pixels" for v in views)


def test_without_drops_it_is_cross_entropy_of_the_view(run: TrainingContext) -> None:
    rule, batch = RobustIT(("noise",), colour=0.2, words=0, sharpest=0), run.data.batch([0, 1, 2])
    found = rule.loss(run, batch).item()
    run.generator.manual_seed(run.seed)
    seen = run.forward(run.view(batch, rule.drawn_view(run.generator)))
    assert found == pytest.approx(cross_entropy(seen.logits, seen.targets).item(), rel=1e-4)
    assert abs(found - PlainSFT().loss(run, batch).item()) > 1e-4
    assert "robustit" not in run.state


def test_drops_act_in_the_loss_and_nowhere_else(run: TrainingContext) -> None:
    batch = run.data.batch([0, 1, 2, 3])
    before = run.forward(batch).logits
    losses = []
    for sharpest in (0.0, 0.5):
        run.generator.manual_seed(0)
        losses.append(RobustIT(words=0, sharpest=sharpest).loss(run, batch).item())
    assert abs(losses[0] - losses[1]) > 1e-4
    assert 0 < run.log["channels dropped"] <= 0.75
    assert torch.equal(run.forward(batch).logits, before)
