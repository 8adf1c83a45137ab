"""The price of PCVR from shapes: against torch's own counter on tiny runs, by hand, and at the shapes of 7 B."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn.functional import cross_entropy
from torch.utils.flop_counter import FlopCounterMode
from typer.testing import CliRunner

import pcvr
from pcvr.cli.app import app
from pcvr.defenses.pcvr import stream
from pcvr.experiments import price
from pcvr.experiments.accelerator.shapes import FULL, config_of
from pcvr.experiments.price import PICTURE, Run, picture_ms, prices, row_bytes, viewed
from pcvr.models.budget import Costs
from pcvr.models.encode import EncodedData
from pcvr.models.families import LLAVA
from pcvr.models.forward import answer_logits
from pcvr.models.memory import estimate
from pcvr.models.work import Work, work_of
from pcvr.training.finetune import with_adapter
from tests.tiny import Numbers

WITHIN = 0.2
"""The formula and what was counted differ by at most so much."""


def work_on(vlm: Any, data: Any, lora_r: int) -> Work:
    """The formula's work for the first sample of `data`."""
    row = EncodedData(vlm, data).row(0)
    ids, answer = row["input_ids"], int((row["labels"] >= 0).sum())
    seen = int((ids == vlm.base.config.image_token_id).sum())
    return work_of(vlm.base.config, vlm.family, lora_r, prompt_tokens=len(ids) - seen, answer_tokens=answer)


@pytest.mark.parametrize("name", ["tiny-llava", "tiny-idefics3", "tiny-blip2"])
def test_a_step_is_what_torch_counts(name: str) -> None:
    vlm = pcvr.load(name, device="cpu")
    data = pcvr.open_data("scenes", n=1)
    work = work_on(vlm, data, 16)
    batch = EncodedData(vlm, data).batch([0])
    adapted = with_adapter(vlm, pcvr.TrainConfig(lora_r=16))
    with FlopCounterMode(display=False) as looking, torch.no_grad():
        answer_logits(adapted, batch)
    with FlopCounterMode(display=False) as training:
        said = answer_logits(adapted, batch)
        cross_entropy(said.logits, said.targets).backward()
    assert work.looking() == pytest.approx(looking.get_total_flops(), rel=WITHIN)
    assert work.step(checkpointing=False) == pytest.approx(training.get_total_flops(), rel=WITHIN)
    assert work.adapter == sum(p.numel() for p in adapted.model.parameters() if p.requires_grad)


def test_an_epoch_with_pcvr_is_what_torch_counts(
    tiny: pcvr.VisionLanguageModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Views and donors of a real training, beside a plain one."""
    for module in (stream, price):
        monkeypatch.setattr(module, "EARLY", 8)  # so that a short training reaches one view in eight batches
    data = Numbers(72, answers=("a red ball",))
    config = pcvr.TrainConfig(num_train_epochs=1, batch_size=8)
    counted = {}
    for defense in ("none", "pcvr"):
        with FlopCounterMode(display=False) as counter:
            pcvr.finetune(tiny.copy(), data, defense, config, progress=False)
        counted[defense] = counter.get_total_flops()
    run = Run(len(data), checkpointing=False, tower=False)
    needed: Any = SimpleNamespace(training=0)
    plain, defended = prices(work_on(tiny, data, config.lora_r), run, needed, Costs.of(tiny))
    assert plain.flops == pytest.approx(counted["none"], rel=WITHIN)
    assert defended.flops == pytest.approx(counted["pcvr"], rel=WITHIN)
    assert defended.flops / plain.flops == pytest.approx(counted["pcvr"] / counted["none"], rel=WITHIN)


def test_views_by_hand() -> None:
    assert viewed(100) == viewed(512) == 1
    assert viewed(512 + 800) == pytest.approx((512 + 100) / 1312)
    assert viewed(10**6) == pytest.approx(1 / 8, rel=0.01)


def at_seven_billion() -> tuple[Work, Any, Costs]:
    """The work, memory and sizes of LLaVA-1.5-7B in half precision."""
    config = config_of(FULL)
    half = torch.bfloat16
    return work_of(config, LLAVA, 16), estimate(config, half), Costs.of_config(config, half)


def test_seven_billion_by_hand() -> None:
    work, _, _ = at_seven_billion()
    language = 32 * (4 * 4096**2 + 3 * 4096 * 11008)
    assert work.tokens == 576 + 128
    assert work.layers == pytest.approx(2 * language * 704, rel=0.05)
    assert work.step(checkpointing=True) == pytest.approx(6 * language * 704, rel=0.1)
    assert row_bytes(work) == 4 * 3 * 336**2 + 16 * 704


@given(st.integers(1, 10**7), st.floats(0, 0.5), st.booleans())
def test_more_data_never_costs_less_and_pcvr_never_less_than_plain(n: int, flagged: float, tower: bool) -> None:
    work, needed = Work(3.0, 5.0, 7.0, 4.0, 10, 20_000, 50), SimpleNamespace(training=1000)
    costs: Any = SimpleNamespace(view=lambda *_: 10)
    one, other = (
        prices(work, Run(size, flagged, tower=tower, picture_ms=20, workers=2), needed, costs)  # type: ignore[arg-type]
        for size in (n, 2 * n)
    )
    for small, large in zip(one, other, strict=True):
        assert small.seconds <= large.seconds and small.disk <= large.disk and small.memory == large.memory
    for plain, defended in (one, other):
        for field in ("flops", "pictures", "compute_seconds", "picture_seconds", "memory", "disk"):
            assert getattr(defended, field) >= getattr(plain, field)
    assert other[0].seconds == pytest.approx(2 * one[0].seconds), "growth of a plain epoch is linear"
    assert other[1].seconds <= 2 * one[1].seconds * (1 + 1e-9) or tower, "and that of PCVR at most, in memory"


def test_the_price_at_seven_billion_and_665_000_samples() -> None:
    work, needed, costs = at_seven_billion()
    plain, defended = prices(work, Run(665_000, picture_ms=18, workers=8), needed, costs)
    assert 1 < defended.flops / plain.flops < 1.1
    assert 1 < defended.picture_seconds / plain.picture_seconds < 1.3, "images that the store cannot keep come again"
    assert defended.memory / plain.memory < 1.05
    assert plain.picture_seconds == pytest.approx(665_000 * 0.018 / 8)


def test_a_picture_is_timed() -> None:
    sizes: list[tuple[int, ...]] = []
    taken = picture_ms(lambda image: sizes.append(image.shape), (64, 32), repeats=2)
    assert taken > 0 and sizes == [(32, 64, 3)] * 3 and PICTURE == (640, 480)


def test_the_command(tmp_path: Path) -> None:
    config_of(FULL).save_pretrained(tmp_path)
    settings = {"image_processor_type": "CLIPImageProcessorPil", "size": {"shortest_edge": 336}}
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(settings))
    given = ["models", str(tmp_path), "--data", "665000", "--tflops", "150", "--picture", "64x48"]
    said = CliRunner().invoke(app, given)
    assert said.exit_code == 0, said.output
    for words in ("665,000 samples, 704 tokens", "at 150 TFLOP a second", "preparing pictures, hours", "disk, MiB"):
        assert words in said.output
