"""``finetune``: what it returns, what it leaves alone, and how it fails."""

from __future__ import annotations

import math
import tempfile
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor
from transformers import TrainerCallback

from pcvr import PCVR, AugmentOnly, PcvrError, PlainSFT, TrainConfig, VisionLanguageModel, finetune, generate
from pcvr.defenses import DEFENSES, Defense
from pcvr.defenses.context import TrainingContext
from pcvr.models.encode import Batch, EncodedData
from pcvr.training import FinetuneResult
from tests.tiny import Numbers

SHORT = TrainConfig(max_steps=3, batch_size=4)


def weights(vlm: VisionLanguageModel) -> dict[str, Tensor]:
    return {k: v.detach().clone() for k, v in vlm.model.state_dict().items() if "lora_" in k}


@dataclass(frozen=True)
class Constant(Defense):
    """A defence whose loss is always the same number."""

    name: ClassVar[str] = "constant"
    value: float = 0.0

    def begin(self, run: TrainingContext) -> None:
        run.log["begun"] = 1.0

    def loss(self, run: TrainingContext, batch: Batch) -> Tensor:
        return run.forward(batch).logits.sum() * 0 + self.value


@pytest.fixture(
    scope="module",
    params=[
        "none",
        AugmentOnly("one"),
        AugmentOnly("both"),
        PCVR(),
        PCVR(gate="two_stage", scan_at=(0.4, 0.7)),
        PCVR(scan_at=(0.4,), gate="none"),
    ],
    ids="none augment-one augment-both pcvr pcvr-two-stage pcvr-ungated".split(),
)
def result(request: pytest.FixtureRequest, tiny: VisionLanguageModel) -> FinetuneResult:
    """Three steps with each defence."""
    return finetune(tiny, Numbers(), request.param, SHORT, progress=False)


class TestEachDefence:
    def test_history(self, result: FinetuneResult) -> None:
        assert [h["step"] for h in result.history] == [1, 2, 3]
        assert all(math.isfinite(h["loss"]) for h in result.history)
        assert result.seconds > 0
        assert result.config == replace(SHORT, learning_rate=4e-3), "what was left open is filled in"

    def test_the_model_has_an_adapter_that_moved(self, result: FinetuneResult) -> None:
        assert result.model.adapted
        assert not result.model.model.training
        moved = [k for k, v in weights(result.model).items() if "lora_B" in k and v.abs().max() > 0]
        assert moved
        assert not any("vision_tower" in name for name in weights(result.model))

    def test_the_tower_is_a_tower_again(self, result: FinetuneResult) -> None:
        assert type(result.model.family.part(result.model.model, "tower")).__name__.startswith("CLIP")
        data = Numbers()
        assert len(generate(result.model, [data[0].image], [data[0].prompt], 2)) == 1

    def test_only_the_adapter_learns(self, result: FinetuneResult) -> None:
        learned = [n for n, p in result.model.model.named_parameters() if p.requires_grad]
        assert learned
        assert all("lora_" in n for n in learned)

    def test_the_base_below_the_adapter_is_as_it_was(self, result: FinetuneResult, tiny: VisionLanguageModel) -> None:
        base = {k.replace(".base_layer", ""): v for k, v in result.model.model.get_base_model().state_dict().items()}
        for name, value in tiny.model.state_dict().items():
            assert torch.equal(base[name], value), name


def test_the_loss_falls(tiny: VisionLanguageModel) -> None:
    result = finetune(
        tiny, Numbers(4), config=TrainConfig(max_steps=30, batch_size=4, learning_rate=2e-2), progress=False
    )
    assert [h["step"] for h in result.history] == [10, 20, 30]
    assert result.history[-1]["loss"] < 0.5 * result.history[0]["loss"]


def test_the_same_seed_gives_the_same_adapter(tiny: VisionLanguageModel) -> None:
    first, second, other = (
        weights(finetune(tiny, Numbers(), AugmentOnly(), replace(SHORT, seed=seed), progress=False).model)
        for seed in (0, 0, 1)
    )
    assert all(torch.equal(first[k], second[k]) for k in first)
    assert not all(torch.equal(first[k], other[k]) for k in first)


def test_kept_features_and_pictures_train_alike(tiny: VisionLanguageModel, monkeypatch: pytest.MonkeyPatch) -> None:
    place, keep = "pcvr.models.encode.EncodedData.keep_features", EncodedData.keep_features
    kept: list[bool] = []

    def noted(data: EncodedData, **given: Any) -> bool:
        kept.append(keep(data, **given))
        return kept[-1]

    monkeypatch.setattr(place, noted)
    quick = finetune(tiny, Numbers(), AugmentOnly("both"), SHORT, progress=False)
    assert kept == [True] and quick.run.data.features is not None, "for those who look at the training afterwards"
    monkeypatch.setattr(place, lambda self, **_: False)
    slow = finetune(tiny, Numbers(), AugmentOnly("both"), SHORT, progress=False)
    one, other = weights(quick.model), weights(slow.model)
    assert all(torch.allclose(one[k], other[k], atol=1e-4) for k in one)


SWITCHES = ("gradient_checkpointing", "activation_checkpointing")
"""What transformers calls it, before 5.23 and since."""


def test_gradient_checkpointing_changes_memory_and_nothing_else(tiny: VisionLanguageModel) -> None:
    runs = [
        finetune(tiny, Numbers(), PCVR(), replace(SHORT, gradient_checkpointing=on), progress=False)
        for on in (False, True)
    ]
    one, other = (weights(run.model) for run in runs)
    assert all(torch.allclose(one[k], other[k], atol=1e-5) for k in one)
    on = [any(getattr(m, name, False) for m in run.model.base.modules() for name in SWITCHES) for run in runs]
    assert on == [False, True]


def test_plain_sft_is_the_models_own_loss(tiny: VisionLanguageModel) -> None:
    result = finetune(tiny, Numbers(4), config=TrainConfig(max_steps=1, batch_size=4), progress=False)
    batch = result.run.data.batch(range(4))
    inputs = {k: batch[k] for k in ("input_ids", "attention_mask", "labels")}
    with torch.inference_mode():
        pixels = torch.stack([result.run.data.row(i)["pixel_values"] for i in range(4)])
        own = tiny.model(**inputs, pixel_values=pixels).loss
    assert result.history[0]["loss"] == pytest.approx(own.item(), rel=1e-4)


def test_nothing_is_printed_and_nothing_is_left_behind(
    tiny: VisionLanguageModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "here").mkdir()
    (tmp_path / "temp").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temp"))
    finetune(tiny, Numbers(4), "pcvr", SHORT, progress=False)
    with pytest.raises(PcvrError):
        finetune(tiny, Numbers(4), Constant(float("nan")), SHORT, progress=False)
    assert capfd.readouterr() == ("", "")
    assert sorted(p.name for p in tmp_path.rglob("*")) == ["here", "temp"]


def test_the_bar_shows_steps_and_loss(tiny: VisionLanguageModel, capfd: pytest.CaptureFixture[str]) -> None:
    finetune(tiny, Numbers(4), config=SHORT)
    out, err = capfd.readouterr()
    assert "fine-tuning" in err
    assert "3/3" in err
    assert "loss=" in err
    assert out == ""


def test_the_bar_shows_the_defences_figures_and_no_control_characters(
    tiny: VisionLanguageModel, capfd: pytest.CaptureFixture[str]
) -> None:
    class Loud(Constant):
        def loss(self, run: TrainingContext, batch: Batch) -> Tensor:
            run.log["flagged\x1b[2J"] = 0.25
            return super().loss(run, batch)

    finetune(tiny, Numbers(4), Loud(1.0), SHORT)
    err = capfd.readouterr().err
    assert "loss=1, begun=" in err and r"flagged\x1b[2J=0.25" in err and "\x1b[2J" not in err
    assert "grad_norm" not in err and "learning_rate" not in err


def test_callbacks_are_called_and_may_stop(tiny: VisionLanguageModel) -> None:
    class Stop(TrainerCallback):
        seen: ClassVar[list[Any]] = []

        def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> Any:
            self.seen.append(state.global_step)
            control.should_training_stop = state.global_step == 2
            return control

        def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:
            self.seen.append(sorted({"loss", "begun"} & logs.keys()))

    result = finetune(tiny, Numbers(4), Constant(1.0), SHORT, callbacks=[Stop()], progress=False)
    assert Stop.seen[:4] == [1, ["begun", "loss"], 2, ["begun", "loss"]]
    assert [h["step"] for h in result.history] == [1, 2]
    assert result.history[0]["loss"] == 1


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_loss_that_is_no_number_stops_with_one_sentence(tiny: VisionLanguageModel, value: float) -> None:
    with pytest.raises(PcvrError, match=f"the loss is {value} at step 0: lower learning_rate"):
        finetune(tiny, Numbers(4), Constant(value), SHORT, progress=False)


def test_a_learning_rate_far_too_high_is_caught(tiny: VisionLanguageModel) -> None:
    config = TrainConfig(max_steps=6, batch_size=4, learning_rate=1e30, warmup_ratio=0)
    with pytest.raises(PcvrError, match="lower learning_rate"):
        finetune(tiny, Numbers(4), config=config, progress=False)


def test_empty_answers_train_on_their_end(tiny: VisionLanguageModel) -> None:
    result = finetune(tiny, Numbers(6, answers=("", "yes")), "pcvr", SHORT, progress=False)
    assert all(math.isfinite(h["loss"]) for h in result.history)


def test_fewer_samples_than_a_batch(tiny: VisionLanguageModel) -> None:
    assert len(finetune(tiny, Numbers(2), config=TrainConfig(max_steps=2, batch_size=32), progress=False).history) == 2


def test_what_is_refused_before_any_work(tiny: VisionLanguageModel) -> None:
    adapted = finetune(tiny, Numbers(2), config=TrainConfig(max_steps=1), progress=False).model
    with pytest.raises(PcvrError, match="adapter already"):
        finetune(adapted, Numbers(2), progress=False)
    with pytest.raises(PcvrError, match="did you mean 'pcvr'"):
        finetune(tiny, Numbers(2), "pvcr", progress=False)
    for rule in (None, PCVR):
        with pytest.raises(PcvrError, match="defense is"):
            finetune(tiny, Numbers(2), rule, progress=False)  # type: ignore[arg-type]
    with pytest.raises(PcvrError, match="empty"):
        finetune(tiny, Numbers(0), progress=False)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("max_steps", 0),
        ("max_steps", 1.5),
        ("max_steps", True),
        ("batch_size", -1),
        ("lora_r", 0),
        ("lora_alpha", 0),
        ("learning_rate", 0.0),
        ("learning_rate", float("nan")),
        ("learning_rate", float("inf")),
        ("warmup_ratio", 1.0),
        ("warmup_ratio", -0.1),
        ("warmup_ratio", float("nan")),
        ("seed", -1),
        ("seed", 2**32),
        ("seed", 0.5),
    ],
)
def test_config_names_the_field(field: str, value: Any) -> None:
    with pytest.raises(PcvrError, match=f"^{field} must .* got {value}"):
        TrainConfig(**{field: value})


def test_every_field_has_a_help_text() -> None:
    kinds: list[Any] = [TrainConfig, *DEFENSES.values()]
    for kind in kinds:
        for field in fields(kind):
            assert field.metadata.get("help"), f"{kind.__name__}.{field.name}"


def test_defences_fit_the_protocol() -> None:
    rules: list[Defense] = [PlainSFT(), AugmentOnly(), PCVR(), Constant()]
    assert [rule.name for rule in rules] == ["none", "augment", "pcvr", "constant"]
