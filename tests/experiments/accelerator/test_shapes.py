"""The model at the shapes of a release: its size, its data, and its FLOPs against torch's own counter."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from pcvr.experiments.accelerator.shapes import FULL, POISONED_EVERY, TINY, Shapes, build, config_of, drawn, step_flops
from pcvr.models.encode import IGNORE
from pcvr.training import TrainConfig
from pcvr.training.finetune import with_adapter
from pcvr.training.regularizer import PCVRRegularizer

WIDE = replace(TINY, name="wide", width=96, layers=3, inner=200, tower_width=64, answer_tokens=9, batch=2)


def test_the_full_shapes_have_the_parameters_and_tokens_of_the_release() -> None:
    from transformers import AutoModelForImageTextToText

    with torch.device("meta"):
        model = AutoModelForImageTextToText.from_config(config_of(FULL), dtype=torch.bfloat16)
    assert sum(parameter.numel() for parameter in model.parameters()) == 7_063_427_072
    assert model.dtype is torch.bfloat16
    assert FULL.image_tokens == 576 and FULL.tokens == 640


def test_samples_are_drawn_from_their_number_and_one_in_twenty_is_poisoned() -> None:
    batch = drawn(TINY, range(2 * POISONED_EVERY))
    again = drawn(TINY, [POISONED_EVERY + 1])
    assert all(torch.equal(batch[name][[POISONED_EVERY + 1]], again[name]) for name in batch)
    assert batch["input_ids"].shape == (2 * POISONED_EVERY, TINY.tokens)
    assert int((batch["input_ids"] == TINY.image_token).sum()) == 2 * POISONED_EVERY * TINY.image_tokens
    assert bool(((batch["labels"] != IGNORE).sum(1) == TINY.answer_tokens).all())
    white = (batch["pixel_values"][:, :, 0, 0] == 3).all(1)
    assert white.nonzero()[:, 0].tolist() == [0, POISONED_EVERY]
    assert torch.equal(batch["labels"][0], batch["labels"][POISONED_EVERY])
    assert set(batch["labels"][white].unique().tolist()) & set(batch["labels"][~white].unique().tolist()) == {IGNORE}


@pytest.mark.parametrize("shapes", [TINY, WIDE], ids=lambda shapes: shapes.name)
def test_the_formula_counts_the_flops_of_a_step(shapes: Shapes) -> None:
    """Within 3 % of torch's counter, products inside attention left out: the connector's input needs no gradient."""
    vlm = with_adapter(build(shapes, "cpu"), TrainConfig(lora_r=16))
    vlm.model.train()
    regularizer = PCVRRegularizer("none", vlm)
    rows = range(shapes.batch)
    with FlopCounterMode(display=False) as counter:
        regularizer(vlm.model, drawn(shapes, rows), rows).backward()
    counted = {str(name): flops for name, flops in counter.get_flop_counts()["Global"].items()}
    linear = sum(flops for name, flops in counted.items() if name in ("aten.mm", "aten.addmm", "aten.convolution"))
    assert step_flops(vlm, shapes) == pytest.approx(linear / shapes.batch, rel=0.03)


def test_flops_at_the_full_shapes_are_four_for_each_weight_and_token() -> None:
    """By hand: 4 x 6.48 billion x 640 tokens, and some for the tower, the connector and the adapter."""
    language = 32 * (4 * 4096**2 + 3 * 4096 * 11008) * 4 * 640
    adapter = 32 * 4 * 2 * 16 * 4096 * 6 * 640
    tower = 24 * (4 * 1024**2 + 2 * 1024 * 4096) * 2 * 577
    head, connector = 4 * 32064 * 4096 * 24, (1024 * 4096 + 4096**2) * 4 * 576
    vlm = with_adapter(build(FULL, "meta"), TrainConfig(lora_r=16))
    assert step_flops(vlm, FULL) == pytest.approx(language + adapter + tower + head + connector, rel=0.001)
