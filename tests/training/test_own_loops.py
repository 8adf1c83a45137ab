"""Training loops of one's own that look right and are not: each ends in one sentence, or in the right result."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import Trainer, TrainingArguments

from pcvr import PCVRConfig, PcvrError, PCVRMixin, PCVRRegularizer, VisionLanguageModel, scan
from pcvr.defenses import AugmentOnly
from pcvr.models.encode import Batch
from pcvr.models.tower import tower_features
from pcvr.training.assess import _check_once
from pcvr.training.indexed import IndexCollator
from pcvr.training.loop_context import LoopContext
from pcvr.training.own_model import as_reference
from pcvr.views import PatchView
from tests.own_loops import adapted, arguments, collator, rows_of
from tests.tiny import Numbers

pytestmark = pytest.mark.filterwarnings(  # peft's own call
    "ignore:.*gradient_checkpointing.* is deprecated:FutureWarning"
)


class Own(PCVRMixin, Trainer):
    pass


def batch_of(vlm: VisionLanguageModel, count: int) -> Batch:
    return collator(vlm)(rows_of(vlm, Numbers(count)))


def unlabelled(batch: Batch, *rows: int) -> Batch:
    """The batch, of which some samples have no label token."""
    labels = batch["labels"].clone()
    labels[list(rows)] = -100
    return batch | {"labels": labels}


def test_a_model_that_is_made_later_is_refused(tiny: VisionLanguageModel, tmp_path: Path) -> None:
    with pytest.raises(PcvrError, match="model_init makes another model"):
        Own(
            args=arguments(TrainingArguments, tmp_path),
            model_init=lambda: adapted(tiny),
            processing_class=tiny.processor,
            train_dataset=rows_of(tiny, Numbers(12)),
            data_collator=collator(tiny),
        )


@pytest.mark.parametrize("bias", ["all", "lora_only"])
def test_a_bias_that_stays_when_the_adapter_is_off(tiny: VisionLanguageModel, bias: str) -> None:
    model = get_peft_model(tiny.copy().model, LoraConfig(target_modules=["fc1", "fc2"], r=2, bias=bias))
    with pytest.raises(PcvrError, match="bias is trained beside the adapter"):
        PCVRRegularizer(PCVRConfig(), model, tiny.processor)


def test_an_unfrozen_projector_needs_a_reference(tiny: VisionLanguageModel) -> None:
    model = adapted(tiny)
    model.get_submodule("base_model.model.model.multi_modal_projector").requires_grad_(True)
    with pytest.raises(PcvrError, match=r"multi_modal_projector.* is trained beside the adapter"):
        PCVRRegularizer(PCVRConfig(), model, tiny.processor)
    with pytest.raises(PcvrError, match="the model in training itself"):
        PCVRRegularizer(PCVRConfig(), model, tiny.processor, reference=model)
    assert PCVRRegularizer(PCVRConfig(), model, tiny.processor, reference=tiny).run.reference is tiny


@pytest.mark.parametrize("more", [{}, {"modules_to_save": ["multi_modal_projector"]}, {"use_dora": True}])
def test_what_an_adapter_trains_is_off_with_it(tiny: VisionLanguageModel, more: dict[str, Any]) -> None:
    model = get_peft_model(tiny.copy().model, LoraConfig(target_modules=["q_proj", "v_proj"], r=2, **more))
    assert as_reference(PCVRRegularizer(PCVRConfig(), model, tiny.processor).run.vlm) is None


@pytest.mark.parametrize("index", [[0, 1, 2, 10**8], [0, 1, 2, 2**70], {0, 1, 2, 3}])
def test_numbers_that_are_no_rows(tiny: VisionLanguageModel, index: Any) -> None:
    with pytest.raises(PcvrError, match="index"):
        PCVRRegularizer(PCVRConfig(), adapted(tiny), tiny.processor)(adapted(tiny), batch_of(tiny, 4), index)


def test_a_hash_in_the_column_of_the_index(tiny: VisionLanguageModel) -> None:
    rows = [{**row, "index": 2**80 + number} for number, row in enumerate(rows_of(tiny, Numbers(2)))]
    with pytest.raises(PcvrError, match="is too large"):
        IndexCollator(collator(tiny))(rows)


def test_a_sample_without_a_label_can_lend_its_patches(tiny: VisionLanguageModel) -> None:
    run = LoopContext(tiny.copy(), reference=tiny)
    batch = run.take(unlabelled(batch_of(tiny, 2), 1), [7, 3])
    assert batch["index"].tolist() == [7]
    seen = run.view(batch, PatchView("swap", 0.6))
    assert not torch.equal(seen["pixel_values"], batch["pixel_values"])


def test_a_saved_state_has_the_donors_of_a_last_batch_of_one(tiny: VisionLanguageModel) -> None:
    before = LoopContext(tiny.copy(), reference=tiny)
    before.take(batch_of(tiny, 4), [0, 1, 2, 3])
    after = LoopContext(tiny.copy(), reference=tiny)
    after.load_state_dict(before.state_dict())
    last = [run.view(run.take(batch_of(tiny, 1), [8]), PatchView("swap", 0.6)) for run in (before, after)]
    assert torch.equal(last[0]["pixel_values"], last[1]["pixel_values"])


def test_the_state_of_another_defence(tiny: VisionLanguageModel) -> None:
    saved = PCVRRegularizer(AugmentOnly(), adapted(tiny), tiny.processor).state_dict()
    with pytest.raises(PcvrError, match="is of augment, and this training has pcvr with gate 'stream'"):
        PCVRRegularizer(PCVRConfig(), adapted(tiny), tiny.processor).load_state_dict(saved)


def test_images_that_belong_to_other_samples(tiny: VisionLanguageModel) -> None:
    batch = batch_of(tiny, 4)
    ids, image = batch["input_ids"].clone(), tiny.image_token_id
    other = next(token for token in range(5, 50) if token != image)
    ids[1, (ids[1] == image).nonzero()[:, 0]] = other
    with pytest.raises(PcvrError, match="not one image a sample"):
        LoopContext(tiny.copy(), reference=tiny).take(batch | {"input_ids": ids}, range(4))


def test_views_use_no_dropout_of_the_tower(tiny: VisionLanguageModel) -> None:
    config = LoraConfig(target_modules="all-linear", r=2, lora_dropout=0.5, init_lora_weights=False)
    vlm = PCVRRegularizer(PCVRConfig(), get_peft_model(tiny.copy().model, config), tiny.processor).run.vlm
    vlm.model.train()
    pixels, state = batch_of(tiny, 2)["pixel_values"], torch.get_rng_state()
    assert torch.equal(tower_features(vlm, pixels), tower_features(vlm, pixels))
    assert torch.equal(torch.get_rng_state(), state) and all(each.training for each in vlm.model.modules())


class Once(torch.utils.data.IterableDataset[Any]):
    """Rows that can be read once."""

    def __init__(self, rows: list[Any]) -> None:
        self.rows = iter(rows)

    def __iter__(self) -> Iterator[Any]:
        return self.rows


def test_data_that_can_be_read_only_once(tiny: VisionLanguageModel, monkeypatch: pytest.MonkeyPatch) -> None:
    from pcvr.defenses.pcvr import streaming

    rows = [{**row, "index": number} for number, row in enumerate(rows_of(tiny, Numbers(56)))]
    judged = streaming.gate_of

    def found(run: Any) -> Any:
        gate = judged(run)
        vars(gate)["judge"] = lambda step: setattr(gate, "witness", object())
        return gate

    monkeypatch.setattr("pcvr.training.assess.streaming.gate_of", found)
    with pytest.raises(PcvrError, match="can be read twice"):
        scan(tiny, dataset=Once(rows), collator=collator(tiny))


def test_a_batch_without_any_label_has_no_score(tiny: VisionLanguageModel) -> None:
    rows = rows_of(tiny, Numbers(57))
    rows[56] = rows[56] | {"labels": torch.full_like(rows[56]["labels"], -100)}
    report = scan(tiny, dataset=rows, collator=collator(tiny))
    assert len(report) == 57 and torch.tensor(report.scores).isnan().nonzero().tolist() == [[56]]
    for row in rows:
        row["labels"] = torch.full_like(row["labels"], -100)
    with pytest.raises(PcvrError, match="labels of the batch are all -100"):
        scan(tiny, dataset=rows, collator=collator(tiny))


def test_numbers_of_the_data_that_are_not_its_rows(tiny: VisionLanguageModel) -> None:
    rows = [{**row, "index": 55 - number} for number, row in enumerate(rows_of(tiny, Numbers(56)))]
    assert not scan(tiny, dataset=rows, collator=collator(tiny)).positions
    with pytest.raises(PcvrError, match="index 3 stands at 2 samples"):
        _check_once(torch.tensor([*range(56), 3]).numpy())


@pytest.mark.parametrize("size", [0, -1, "8", 2.0])
def test_a_batch_of_no_size(tiny: VisionLanguageModel, size: Any) -> None:
    with pytest.raises(PcvrError, match="batch_size"):
        scan(tiny, dataset=rows_of(tiny, Numbers(56)), collator=collator(tiny), batch_size=size)


def test_a_generator_is_no_data_set(tiny: VisionLanguageModel) -> None:
    with pytest.raises(PcvrError, match="a generator: give rows"):
        scan(tiny, dataset=(row for row in rows_of(tiny, Numbers(56))), collator=collator(tiny))
