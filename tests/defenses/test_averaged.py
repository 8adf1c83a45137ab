"""The moving average of trained weights: its formula, once a step, and the model with it in place."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from pcvr import VisionLanguageModel
from pcvr.defenses import averaged
from tests.rivals import adapter, begun


def test_the_average_by_hand(tiny: VisionLanguageModel) -> None:
    run = begun(tiny, samples=2, clean=0)
    averaged.begin(run)
    names = [name for name, p in run.vlm.model.named_parameters() if p.requires_grad]
    assert sorted(run.state[averaged.WEIGHTS]) == sorted(names) and all("lora_" in name for name in names)
    name = next(name for name in names if "lora_B" in name)
    weights = dict(run.vlm.model.named_parameters())[name]
    expected = weights.detach().double().numpy().copy()
    for step in range(1, 4):
        with torch.no_grad():
            weights.add_(step)
        run.step = step
        for _ in range(3):  # micro-batches of one step
            averaged.follow(run, 0.75)
        expected = 0.75 * expected + 0.25 * weights.detach().double().numpy()
        assert np.allclose(run.state[averaged.WEIGHTS][name].numpy(), expected, rtol=1e-5)


def test_before_the_first_step_it_is_the_start(tiny: VisionLanguageModel) -> None:
    run = begun(tiny, samples=2, clean=0)
    averaged.begin(run)
    before = {name: value.clone() for name, value in run.state[averaged.WEIGHTS].items()}
    averaged.follow(run, 0.0)
    assert all(torch.equal(before[name], value) for name, value in run.state[averaged.WEIGHTS].items())
    run.step = 1
    with torch.no_grad():
        for weights in run.vlm.model.parameters():
            if weights.requires_grad:
                weights.mul_(2)
    averaged.follow(run, 0.0)
    assert all(torch.allclose(2 * before[name], value) for name, value in run.state[averaged.WEIGHTS].items())


def test_inside_the_block_the_model_has_the_average_and_afterwards_its_own(tiny: VisionLanguageModel) -> None:
    run = begun(tiny, samples=2, clean=0)
    averaged.begin(run)
    batch = run.data.batch([0, 1])
    kept = run.forward_no_grad(batch).logits
    with torch.no_grad():
        for weights in run.vlm.model.parameters():
            if weights.requires_grad:
                weights.mul_(3)
    now, own = run.forward_no_grad(batch).logits, adapter(run.vlm)
    assert not torch.allclose(now, kept, atol=1e-3)
    with averaged.averaged(run):
        assert torch.allclose(run.forward_no_grad(batch).logits, kept, atol=1e-5)
    with pytest.raises(KeyboardInterrupt), averaged.averaged(run):
        raise KeyboardInterrupt
    assert all(torch.equal(own[name], value) for name, value in adapter(run.vlm).items())
    assert torch.equal(run.forward_no_grad(batch).logits, now)


def test_half_precision_is_averaged_in_full(tiny: VisionLanguageModel) -> None:
    run = begun(tiny, samples=2, clean=0)
    for weights in run.vlm.model.parameters():
        if weights.requires_grad:
            weights.data = torch.ones_like(weights, dtype=torch.bfloat16)
    averaged.begin(run)
    for run.step in range(1, 101):
        for weights in run.vlm.model.parameters():
            if weights.requires_grad:
                weights.data = torch.full_like(weights, 2)
        averaged.follow(run, 0.999)
    for value in run.state[averaged.WEIGHTS].values():
        assert value.dtype is torch.float32 and value.mean().item() == pytest.approx(2 - 0.999**100, rel=1e-4)
    with averaged.averaged(run):
        assert {p.dtype for p in run.vlm.model.parameters() if p.requires_grad} == {torch.bfloat16}
