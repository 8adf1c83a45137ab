"""A step in parts: micro-batches, the numbers it is computed in, and TensorBoard's curves of it."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import Any, ClassVar

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from pcvr import PCVR, PcvrError, TrainConfig, VisionLanguageModel, finetune
from pcvr.defenses import Defense
from pcvr.defenses.base import Fit, StagePlan
from pcvr.defenses.context import TrainingContext
from pcvr.models.encode import Batch
from pcvr.training.result import training_record
from tests.tiny import Numbers

CONFIG = TrainConfig(max_steps=6, batch_size=4, learning_rate=1e-2, lora_r=4)


def weights(result: Any) -> Tensor:
    return torch.cat([v.flatten() for k, v in result.model.model.state_dict().items() if "lora_" in k])


@pytest.mark.parametrize("n", [12, 10], ids=["even", "a short last batch"])
def test_micro_batches_are_the_whole_batch(tiny: VisionLanguageModel, n: int) -> None:
    """Answers differ in length, so a mean over the means of micro-batches would be another loss."""
    whole = finetune(tiny, Numbers(n), config=CONFIG, progress=False)
    parts = finetune(tiny, Numbers(n), config=replace(CONFIG, gradient_accumulation_steps=2), progress=False)
    single = finetune(tiny, Numbers(n), config=replace(CONFIG, gradient_accumulation_steps=4), progress=False)
    for other in (parts, single):
        assert [h["step"] for h in other.history] == [1, 2, 3, 4, 5, 6]
        assert [h["loss"] for h in other.history] == pytest.approx([h["loss"] for h in whole.history], rel=1e-4)
        assert torch.allclose(weights(other), weights(whole), atol=1e-4)
    moved = weights(whole) - weights(finetune(tiny, Numbers(n), config=replace(CONFIG, max_steps=1), progress=False))
    assert moved.abs().max() > 1e-2


@dataclass(frozen=True)
class Counting(Defense):
    """Notes at which step each micro-batch was seen, and what the model computes in."""

    name: ClassVar[str] = "counting"

    def begin(self, run: TrainingContext) -> None:
        run.state.update(seen=[], kinds=set())

    def loss(self, run: TrainingContext, batch: Batch) -> Tensor:
        run.state["seen"].append((run.step, len(batch["index"])))
        layer = [m for m in run.vlm.base.modules() if type(m).__name__.endswith("MLP")][-1]
        hook = layer.register_forward_hook(lambda module, given, out: run.state["kinds"].add(out.dtype))
        try:
            return super().loss(run, batch)
        finally:
            hook.remove()


def test_a_step_is_one_step_for_the_defence(tiny: VisionLanguageModel) -> None:
    config = replace(CONFIG, max_steps=3, gradient_accumulation_steps=2)
    seen = finetune(tiny, Numbers(12), Counting(), config, progress=False).run.state["seen"]
    assert seen == [(0, 2), (0, 2), (1, 2), (1, 2), (2, 2), (2, 2)]


def test_bf16_computes_in_bf16_and_leaves_the_model_as_it_was(tiny: VisionLanguageModel) -> None:
    plain = finetune(tiny, Numbers(12), Counting(), CONFIG, progress=False)
    half = finetune(tiny, Numbers(12), Counting(), replace(CONFIG, precision="bf16"), progress=False)
    full = finetune(tiny, Numbers(12), Counting(), replace(CONFIG, precision="fp32"), progress=False)
    assert plain.run.state["kinds"] == full.run.state["kinds"] == {torch.float32}
    assert torch.bfloat16 in half.run.state["kinds"]
    assert weights(half).dtype is torch.float32
    assert torch.equal(weights(plain), weights(full))
    assert not torch.equal(weights(plain), weights(half))
    losses = [h["loss"] for h in half.history]
    assert losses == pytest.approx([h["loss"] for h in plain.history], rel=0.1)
    assert "forward" not in vars(half.model.model) and "_original_forward" not in vars(half.model.model)
    batch = half.run.data.batch(range(2))
    with torch.no_grad():
        assert half.run.forward(batch).logits.dtype is torch.float32
        assert half.model.copy().model is not half.model.model


@pytest.mark.parametrize(
    ("values", "said"),
    [
        (
            {"gradient_accumulation_steps": 0},
            "gradient_accumulation_steps must be a whole number from 1 to 1000000000, got 0",
        ),
        ({"gradient_accumulation_steps": 3}, "gradient_accumulation_steps is 3, which does not divide batch_size 32"),
        ({"precision": "fp16"}, "precision must be fp32, bf16 or None, got 'fp16'"),
        ({"learning_rate": "high"}, "learning_rate must be a finite number"),
    ],
)
def test_configs_that_are_refused(values: dict[str, Any], said: str) -> None:
    with pytest.raises(PcvrError, match=said):
        TrainConfig(**values)


class TestCurves:
    def test_tensorboard_that_is_not_there(
        self, tiny: VisionLanguageModel, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for name in ("torch.utils.tensorboard", "tensorboardX"):
            monkeypatch.setitem(sys.modules, name, None)
        with pytest.raises(PcvrError, match="logs asks for TensorBoard, which is not installed"):
            finetune(tiny, Numbers(4), config=CONFIG, logs=tmp_path / "logs", progress=False)

    def test_points_of_all_stages(
        self, tiny: VisionLanguageModel, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        points: list[tuple[str, float, int]] = []

        class Writer:
            def __init__(self, folder: str) -> None:
                assert folder == str(tmp_path / "logs")

            def add_scalar(self, name: str, value: float, step: int) -> None:
                points.append((name, value, step))

            def close(self) -> None:
                points.append(("closed", 0, 0))

        @dataclass(frozen=True)
        class Twice(PCVR):
            name: ClassVar[str] = "twice"

            def train(self, run: TrainingContext, fit: Fit) -> None:
                fit(StagePlan("one", fraction=0.5))
                fit(StagePlan("two"))

        fake = ModuleType("tensorboardX")
        fake.SummaryWriter = Writer  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
        monkeypatch.setitem(sys.modules, "tensorboardX", fake)
        result = finetune(tiny, Numbers(8), Twice(gate="running"), CONFIG, logs=tmp_path / "logs", progress=False)
        losses = [(value, step) for name, value, step in points if name == "loss"]
        assert losses == [(h["loss"], h["step"]) for h in result.history]
        assert [step for _, step in losses] == list(range(1, 10))
        assert any(name == "suspicious" for name, _, _ in points)
        assert [name for name, _, _ in points].count("closed") == 2


def test_plain_peft_opens_what_was_saved(tiny: VisionLanguageModel, tiny_folder: Path, tmp_path: Path) -> None:
    """In a process that cannot import pcvr at all."""
    result = finetune(tiny, Numbers(8), PCVR(), CONFIG, progress=False)
    result.save(tmp_path / "adapter", training_record(result))
    batch = result.run.data.batch(range(2))
    pixels = torch.stack([result.run.data.row(i)["pixel_values"] for i in range(2)])
    inputs = {"input_ids": batch["input_ids"], "attention_mask": batch["attention_mask"], "pixel_values": pixels}
    save_file(inputs, tmp_path / "inputs.safetensors")
    code = (
        "import sys; sys.modules['pcvr'] = None\n"
        "from peft import PeftModel\n"
        "from safetensors.torch import load_file, save_file\n"
        "from transformers import AutoModelForImageTextToText\n"
        "base, adapter, inputs, out = sys.argv[1:]\n"
        "model = PeftModel.from_pretrained(AutoModelForImageTextToText.from_pretrained(base), adapter).eval()\n"
        "save_file({'logits': model(**load_file(inputs)).logits.detach().contiguous()}, out)\n"
        "assert not any(name.startswith('pcvr.') for name in sys.modules)\n"
    )
    words = [tiny_folder, tmp_path / "adapter", tmp_path / "inputs.safetensors", tmp_path / "out.safetensors"]
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, words)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found = load_file(tmp_path / "out.safetensors")["logits"]
    with torch.no_grad():
        ours, base = result.model.model(**inputs).logits, tiny.model(**inputs).logits
    assert torch.allclose(found, ours, atol=2e-2)  # the file holds half precision
    assert (found - base).abs().max() > 0.1


class TestSettled:
    """What a config leaves open follows from the data and the model."""

    @pytest.mark.parametrize(("epochs", "steps"), [(1, 4), (3, 12), (0.5, 2), (0.01, 1), (2.1, 9)])
    def test_epochs_become_steps(self, epochs: float, steps: int) -> None:
        settled = TrainConfig(num_train_epochs=epochs, batch_size=3).settled(10, large=False)
        assert (settled.max_steps, settled.num_train_epochs) == (steps, None)

    def test_the_learning_rate_follows_the_size_where_none_is_given(self) -> None:
        assert TrainConfig().settled(10, large=False).peak == 4e-3
        assert TrainConfig().settled(10, large=True).peak == 2e-4
        assert TrainConfig(learning_rate=1e-3).settled(10, large=True).peak == 1e-3
        assert TrainConfig(max_steps=7).settled(10, large=True).max_steps == 7

    @pytest.mark.parametrize(
        "values",
        [
            {"num_train_epochs": 0},
            {"num_train_epochs": True},
            {"num_train_epochs": 1e9},
            {"num_train_epochs": 1, "max_steps": 5},
        ],
    )
    def test_what_is_refused(self, values: dict[str, Any]) -> None:
        with pytest.raises(PcvrError, match="num_train_epochs"):
            TrainConfig(**values)
