"""PCVR in a loop of one's own: the losses of finetune on the same batches, and state that goes on."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, ClassVar

import pytest
import torch
from peft import PromptTuningConfig, get_peft_model
from torch import Tensor
from transformers import get_linear_schedule_with_warmup

from pcvr import PCVR, PatchView, PCVRConfig, PcvrError, PCVRRegularizer, VisionLanguageModel, finetune
from pcvr.defenses import AugmentOnly, Defense
from pcvr.defenses.context import TrainingContext
from pcvr.models.encode import Batch
from tests.own_loops import CONFIG, adapted, collator, rows_of
from tests.tiny import Numbers

VIEW = PatchView("mean", 0.6)
BOTH = AugmentOnly(views="both", view=VIEW)


@dataclass(frozen=True)
class Recorded(AugmentOnly):
    """Notes the samples and the loss of each micro-batch."""

    name: ClassVar[str] = "recorded"

    def begin(self, run: TrainingContext) -> None:
        run.state["seen"] = []

    def loss(self, run: TrainingContext, batch: Batch) -> Tensor:
        loss = super().loss(run, batch)
        run.state["seen"].append((run.step, batch["index"].tolist(), float(loss.detach())))
        return loss


RECORDED = Recorded(views="both", view=VIEW)


def own_loop(vlm: VisionLanguageModel, batches: list[list[list[int]]], **options: Any) -> tuple[list[float], Any]:
    """Train in plain torch on the rows of each micro-batch of each step, as finetune's Trainer does."""
    model = adapted(vlm).train()
    reg = PCVRRegularizer(BOTH, model, vlm.processor, **options)
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], CONFIG.peak, weight_decay=0.0)
    schedule = get_linear_schedule_with_warmup(
        optimizer, round(CONFIG.warmup_ratio * CONFIG.max_steps), CONFIG.max_steps
    )
    data, join = rows_of(vlm, Numbers(12)), collator(vlm)
    losses = []
    for step, parts in enumerate(batches):
        made = [join([data[i] for i in rows]) for rows in parts]
        items = sum(int((part["labels"][:, 1:] != -100).sum()) for part in made)
        total = 0.0
        for part, rows in zip(made, parts, strict=True):
            loss = reg(model, part, rows, step=step, num_items_in_batch=items)
            loss.backward()
            total += float(loss.detach())
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
        losses.append(total)
    return losses, reg


@pytest.mark.parametrize("accumulation", [1, 2])
def test_the_losses_are_those_of_finetune(tiny: VisionLanguageModel, accumulation: int) -> None:
    config = replace(CONFIG, gradient_accumulation_steps=accumulation)
    result = finetune(tiny, Numbers(12), RECORDED, config, progress=False)
    batches = [[rows for at, rows, _ in result.run.state["seen"] if at == step] for step in range(CONFIG.max_steps)]
    assert [len(parts) for parts in batches] == [accumulation] * CONFIG.max_steps
    losses, _ = own_loop(tiny, batches)
    assert losses == pytest.approx([entry["loss"] for entry in result.history], rel=1e-5)


def test_without_accumulation_a_call_is_a_step(tiny: VisionLanguageModel) -> None:
    model = adapted(tiny)
    reg = PCVRRegularizer(Recorded(view=VIEW), model, tiny.processor)
    batch = collator(tiny)(rows_of(tiny, Numbers(4)))
    for _ in range(3):
        reg(model, batch | {"index": torch.arange(4)})
    reg(model, batch, range(4), step=9)
    assert [step for step, *_ in reg.run.state["seen"]] == [0, 1, 2, 9]


def test_options_make_a_gate_with_a_verdict(tiny: VisionLanguageModel) -> None:
    model = adapted(tiny)
    reg = PCVRRegularizer(PCVRConfig(), model, tiny.processor)
    assert reg.defense == PCVR()
    batch = collator(tiny)(rows_of(tiny, Numbers(25)))
    reg(model, batch, range(25))
    with pytest.raises(PcvrError, match="the gate has seen 25 samples, which is too few to tell"):
        reg.flagged()
    reg(model, batch, range(25, 50))
    assert reg.flagged() == [] and "suspicious" in reg.log
    other = PCVRRegularizer(PCVRConfig(), model, tiny.processor)
    other.load_state_dict(reg.state_dict())
    assert other.run.state["stream"].seen == 50 and other.flagged() == []


def test_a_model_from_load_needs_no_processor(tiny: VisionLanguageModel) -> None:
    model = replace(tiny, model=adapted(tiny))
    reg = PCVRRegularizer("augment", model)
    batch = collator(tiny)(rows_of(tiny, Numbers(4)))
    assert reg(model, batch, range(4)).requires_grad and reg(model.model, batch, range(4)).requires_grad


def test_a_full_fine_tuning_has_a_reference(tiny: VisionLanguageModel) -> None:
    with pytest.raises(PcvrError, match="no adapter that could be turned off, and no reference"):
        PCVRRegularizer("augment", tiny.model, tiny.processor)
    model = tiny.copy().model
    reg = PCVRRegularizer("augment", model, tiny.processor, reference=tiny.model)
    loss = reg(model, collator(tiny)(rows_of(tiny, Numbers(4))), range(4))
    loss.backward()
    assert all(p.grad is None for p in tiny.model.parameters())


def test_the_state_goes_on(tiny: VisionLanguageModel) -> None:
    model = adapted(tiny)
    batch = collator(tiny)(rows_of(tiny, Numbers(4)))
    reg = PCVRRegularizer(BOTH, model, tiny.processor)
    reg(model, batch, range(4))
    saved = reg.state_dict()
    assert all(isinstance(value, Tensor) for value in saved.values())
    expected = [float(reg(model, batch, range(4)).detach()) for _ in range(2)]
    other = PCVRRegularizer(BOTH, model, tiny.processor, seed=5)
    assert float(other(model, batch, range(4)).detach()) != expected[0]
    other.load_state_dict(saved)
    assert [float(other(model, batch, range(4)).detach()) for _ in range(2)] == expected


class Sharded(torch.nn.Module):
    pass


Sharded.__name__ = "FullyShardedDataParallel"


@pytest.mark.parametrize(
    ("model", "said"),
    [
        (3, "model is 3: give a transformers or peft model"),
        (Sharded(), "sharded over processes that would wait"),
        (torch.nn.DataParallel(torch.nn.Linear(1, 1)), "is a DataParallel: give model.module"),
    ],
)
def test_models_that_are_refused(tiny: VisionLanguageModel, model: Any, said: str) -> None:
    with pytest.raises(PcvrError, match=said):
        PCVRRegularizer("augment", model, tiny.processor)
    reg = PCVRRegularizer("augment", adapted(tiny), tiny.processor)
    with pytest.raises(PcvrError, match=said):
        reg(model, {}, [])


@pytest.mark.filterwarnings("ignore:.*gradient_checkpointing.* is deprecated:FutureWarning")  # peft's own call
def test_an_adapter_that_makes_rows_longer(tiny: VisionLanguageModel) -> None:
    config = PromptTuningConfig(num_virtual_tokens=2, task_type="CAUSAL_LM")
    with pytest.raises(PcvrError, match="the adapter is PROMPT_TUNING, which puts learned tokens in front"):
        PCVRRegularizer("augment", get_peft_model(tiny.copy().model, config), tiny.processor)


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ("pcvrr", "pcvrr"),
        (3, "pcvr is 3: give a pcvr.PCVRConfig"),
        ("abl", "'abl' .* trains in stages or acts at test time"),
        ("strip", "'strip' needs trusted samples"),
    ],
)
def test_defences_that_are_refused(tiny: VisionLanguageModel, config: Any, said: str) -> None:
    with pytest.raises(PcvrError, match=said):
        PCVRRegularizer(config, adapted(tiny), tiny.processor)


def test_a_tokenizer_is_no_processor(tiny: VisionLanguageModel) -> None:
    with pytest.raises(PcvrError, match=r"give the model's own, AutoProcessor.from_pretrained"):
        PCVRRegularizer("augment", adapted(tiny), tiny.tokenizer)


def test_a_loss_that_is_not_finite(tiny: VisionLanguageModel) -> None:
    model = adapted(tiny)
    reg = PCVRRegularizer(Defense(), model, tiny.processor)
    with torch.no_grad():
        next(p for p in model.parameters() if p.requires_grad).fill_(float("nan"))
    with pytest.raises(PcvrError, match="the loss is nan at step 0"):
        reg(model, collator(tiny)(rows_of(tiny, Numbers(4))), range(4))
