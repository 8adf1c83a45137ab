"""PCVR in front of other people's Trainers: the losses of finetune, evaluation as usual, checkpoints that go on."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import datasets
import pytest
import torch
from PIL import Image
from transformers import Trainer, TrainingArguments
from trl import SFTConfig, SFTTrainer

from pcvr import PCVR, PatchView, PCVRConfig, PcvrError, PCVRMixin, VisionLanguageModel, finetune
from pcvr.defenses import AugmentOnly
from tests.own_loops import CONFIG, adapted, arguments, collator, losses, rows_of
from tests.tiny import Numbers

# TRL 1.16 sets an option of transformers by its old name.
pytestmark = pytest.mark.filterwarnings("ignore:.*gradient_checkpointing.* is deprecated:FutureWarning")

BOTH = AugmentOnly(views="both", view=PatchView("mean", 0.6))


class Own(PCVRMixin, Trainer):
    pass


class OwnSFT(PCVRMixin, SFTTrainer):
    pass


def own_trainer(vlm: VisionLanguageModel, folder: Path, kind: Any = Own, **more: Any) -> Any:
    """A trainer on tokenised rows; `more` goes to the arguments where they know the name, else to the trainer."""
    given = {name: more.pop(name) for name in list(more) if hasattr(TrainingArguments, name)}
    settings: dict[str, Any] = {
        "pcvr": BOTH,
        "processing_class": vlm.processor,
        "train_dataset": rows_of(vlm, Numbers(12)),
        "data_collator": collator(vlm),
    }
    return kind(adapted(vlm), arguments(TrainingArguments, folder, **given), **settings | more)


def sft_trainer(vlm: VisionLanguageModel, folder: Path, **more: Any) -> Any:
    """TRL's trainer with its own collator on messages and images."""
    given = {"bf16": False, "max_length": None} | more
    table = messages(Numbers(12))
    return OwnSFT(
        adapted(vlm),
        arguments(SFTConfig, folder, **given),
        pcvr=BOTH,
        processing_class=vlm.processor,
        train_dataset=table,
        eval_dataset=table,
    )


def messages(data: Numbers) -> datasets.Dataset:
    return datasets.Dataset.from_list(
        [
            {
                "images": [Image.fromarray(sample.image)],
                "prompt": [{"role": "user", "content": sample.prompt}],
                "completion": [{"role": "assistant", "content": sample.answer}],
            }
            for sample in (data[i] for i in range(len(data)))
        ]
    )


def finetuned(vlm: VisionLanguageModel, rule: Any = BOTH, **more: Any) -> list[float]:
    """The losses of finetune."""
    result = finetune(vlm, Numbers(12), rule, replace(CONFIG, **more), progress=False)
    return [entry["loss"] for entry in result.history]


@pytest.fixture(scope="module")
def expected(tiny: VisionLanguageModel) -> list[float]:
    return finetuned(tiny)


@pytest.mark.parametrize("rule", [PCVR(), BOTH, AugmentOnly(view=PatchView("noise", level="features"))])
def test_the_losses_are_those_of_finetune(tiny: VisionLanguageModel, rule: Any, tmp_path: Path) -> None:
    trainer = own_trainer(tiny, tmp_path, pcvr=rule)
    trainer.train()
    assert losses(trainer.state.log_history) == pytest.approx(finetuned(tiny, rule), rel=1e-5)


def test_so_are_those_in_micro_batches(tiny: VisionLanguageModel, tmp_path: Path) -> None:
    expected = finetuned(tiny, gradient_accumulation_steps=2)
    trainer = own_trainer(tiny, tmp_path, gradient_accumulation_steps=2, per_device_train_batch_size=2)
    trainer.train()
    assert losses(trainer.state.log_history) == pytest.approx(expected, rel=1e-5)


def test_and_those_of_trl(tiny: VisionLanguageModel, expected: list[float], tmp_path: Path) -> None:
    trainer = sft_trainer(tiny, tmp_path)
    trainer.train()
    assert losses(trainer.state.log_history) == pytest.approx(expected, rel=1e-4)


def test_unused_columns_may_go(tiny: VisionLanguageModel, expected: list[float], tmp_path: Path) -> None:
    rows = [row | {"note": "x"} for row in rows_of(tiny, Numbers(12))]
    trainer = own_trainer(tiny, tmp_path, train_dataset=rows, remove_unused_columns=True)
    trainer.train()
    assert losses(trainer.state.log_history) == pytest.approx(expected, rel=1e-5)


def test_evaluation_is_the_ordinary_one(tiny: VisionLanguageModel, tmp_path: Path) -> None:
    trainer = own_trainer(tiny, tmp_path, eval_dataset=rows_of(tiny, Numbers(6)))
    plain = Trainer(
        trainer.model,
        arguments(TrainingArguments, tmp_path / "plain"),
        data_collator=collator(tiny),
        eval_dataset=rows_of(tiny, Numbers(6)),
    )
    assert trainer.evaluate()["eval_loss"] == pytest.approx(plain.evaluate()["eval_loss"], rel=1e-6)
    sft = sft_trainer(tiny, tmp_path / "sft", eval_strategy="steps", eval_steps=3)
    sft.train()
    assert len([entry for entry in sft.state.log_history if "eval_loss" in entry]) == 2


@pytest.mark.parametrize("kind", ["transformers", "trl"])
def test_a_checkpoint_goes_on(tiny: VisionLanguageModel, tmp_path: Path, kind: str) -> None:
    make = own_trainer if kind == "transformers" else sft_trainer
    first = make(tiny, tmp_path, save_strategy="steps", save_steps=2)
    first.train()
    last = first.run.generator.get_state()
    assert (tmp_path / "checkpoint-2" / "pcvr.safetensors").is_file()
    again = make(tiny, tmp_path)
    again.train(resume_from_checkpoint=str(tmp_path / "checkpoint-2"))
    history = losses(again.state.log_history)
    assert history == pytest.approx(losses(first.state.log_history), rel=1e-6) and len(history) == CONFIG.max_steps
    assert torch.equal(again.run.generator.get_state(), last), "the views went on where they were"
    (tmp_path / "checkpoint-4" / "pcvr.safetensors").unlink()
    with pytest.raises(PcvrError, match=r"pcvr.safetensors cannot be read .*: resume from a checkpoint"):
        make(tiny, tmp_path).train(resume_from_checkpoint=str(tmp_path / "checkpoint-4"))


class Given(AugmentOnly):
    """Notes which samples it saw."""

    def begin(self, run: Any) -> None:
        run.state["seen"] = []

    def loss(self, run: Any, batch: Any) -> Any:
        run.state["seen"] += batch["index"].tolist()
        return super().loss(run, batch)


def test_each_sample_keeps_its_index(tiny: VisionLanguageModel, tmp_path: Path) -> None:
    trainer = own_trainer(tiny, tmp_path, pcvr=Given(view=PatchView("mean")))
    trainer.train()
    seen = trainer.run.state["seen"]
    assert sorted(seen[:12]) == sorted(seen[12:]) == list(range(12)) and seen[:12] != seen[12:]


@pytest.mark.parametrize("rows", ["own", "iterable"])
def test_an_index_of_ones_own_is_kept(tiny: VisionLanguageModel, tmp_path: Path, rows: str) -> None:
    data: Any = [row | {"index": 10 * i} for i, row in enumerate(rows_of(tiny, Numbers(12)))]
    if rows == "iterable":
        data = Stream(data)
    trainer = own_trainer(tiny, tmp_path, pcvr=Given(view=PatchView("mean")), train_dataset=data, max_steps=3)
    trainer.train()
    assert sorted(trainer.run.state["seen"]) == list(range(0, 120, 10))


class Stream(torch.utils.data.IterableDataset):
    def __init__(self, rows: list[Any]) -> None:
        self.rows = rows

    def __iter__(self) -> Iterator[Any]:
        return iter(self.rows)


def test_options_make_a_gate_with_a_verdict(tiny: VisionLanguageModel, tmp_path: Path) -> None:
    trainer = own_trainer(tiny, tmp_path, pcvr=PCVRConfig(apart_weight=2.0), max_steps=14)
    assert trainer.defense == PCVR(apart_weight=2.0)
    with pytest.raises(PcvrError, match="the gate has seen 0 samples, which is too few to tell"):
        trainer.flagged()
    trainer.train()
    assert trainer.flagged() == [] and trainer.run.state["stream"].seen == 56
    assert "suspicious" in trainer.state.log_history[0]
    with pytest.raises(PcvrError, match="the defence has no gate that streams"):
        own_trainer(tiny, tmp_path).flagged()


class TestBadData:
    def told(self, vlm: VisionLanguageModel, folder: Path, said: str, **more: Any) -> None:
        with pytest.raises(PcvrError, match=said) as caught:
            own_trainer(vlm, folder, **more).train()
        assert "\n" not in str(caught.value)

    def test_no_stable_index(self, tiny: VisionLanguageModel, tmp_path: Path) -> None:
        stream = Stream(rows_of(tiny, Numbers(12)))
        self.told(tiny, tmp_path, "have no stable index, only input_ids", train_dataset=stream)
        table = datasets.Dataset.from_dict({"text": ["a", "b"]}).to_iterable_dataset()
        self.told(tiny, tmp_path, "have no stable index, only text: give data with a length", train_dataset=table)
        named = [row | {"index": "a"} for row in rows_of(tiny, Numbers(4))]
        self.told(tiny, tmp_path, "column 'index' of the data set holds 'a'", train_dataset=named)

    def test_a_collator_that_drops_columns(self, tiny: VisionLanguageModel, tmp_path: Path) -> None:
        own = collator(tiny)

        def dropping(rows: Any) -> Any:
            return {name: value for name, value in own(rows).items() if name != "pixel_values"}

        said = "the batch lacks pixel_values and has input_ids, attention_mask, labels, index"
        self.told(tiny, tmp_path, said, data_collator=dropping)

    def test_a_collator_without_torch(self, tiny: VisionLanguageModel, tmp_path: Path) -> None:
        own = collator(tiny)

        def as_arrays(rows: Any) -> Any:
            return {name: value.numpy() for name, value in own(rows).items()}

        self.told(tiny, tmp_path, "input_ids of the batch is a ndarray: give torch tensors", data_collator=as_arrays)

    def test_a_collator_that_packs(self, tiny: VisionLanguageModel, tmp_path: Path) -> None:
        own = collator(tiny)

        def packing(rows: Any) -> Any:
            return {name: value.flatten()[None] for name, value in own(rows).items()}

        self.told(tiny, tmp_path, "makes 1 rows of 4 samples", data_collator=packing)
        self.told(tiny, tmp_path, "the collator returns 3", data_collator=lambda rows: 3)

    def test_rows_that_are_no_mappings(self, tiny: VisionLanguageModel, tmp_path: Path) -> None:
        self.told(tiny, tmp_path, r"row \d+ of the data set is \[1\]: give mappings", train_dataset=[[1]] * 4)

    def test_labels_that_are_all_masked(self, tiny: VisionLanguageModel, tmp_path: Path) -> None:
        rows = [row | {"labels": torch.full_like(row["labels"], -100)} for row in rows_of(tiny, Numbers(4))]
        self.told(tiny, tmp_path, "labels of the batch are all -100", train_dataset=rows)

    def test_a_loader_without_the_index(self, tiny: VisionLanguageModel, tmp_path: Path) -> None:
        class Loader(Own):
            def get_train_dataloader(self) -> Any:
                return Trainer.get_train_dataloader(self)

        self.told(tiny, tmp_path, "the batch has no index of its samples", kind=Loader)


class Doubled(Trainer):
    """Somebody's Trainer with a loss of its own."""

    def compute_loss(self, model: Any, inputs: Any, return_outputs: bool = False, **more: Any) -> Any:
        outputs = model(**{name: value for name, value in inputs.items() if name != "index"})
        return (2 * outputs.loss, outputs) if return_outputs else 2 * outputs.loss


class TestOtherLosses:
    def test_one_behind_is_named(self, tiny: VisionLanguageModel, tmp_path: Path) -> None:
        class Behind(PCVRMixin, Doubled):
            pass

        with pytest.warns(UserWarning, match=r"Doubled.compute_loss is that of evaluation only"):
            trainer = own_trainer(tiny, tmp_path, kind=Behind, max_steps=1)
        trainer.train()

    def test_one_that_takes_its_place_is_refused(self, tiny: VisionLanguageModel, tmp_path: Path) -> None:
        class Reversed(Doubled, PCVRMixin):  # type: ignore[misc]  # the mistake that is tried
            pass

        with pytest.raises(PcvrError, match=r"Doubled.compute_loss computed the loss of this step, without PCVR"):
            own_trainer(tiny, tmp_path, kind=Reversed).train()

    def test_one_in_front_adds_to_it(self, tiny: VisionLanguageModel, tmp_path: Path) -> None:
        class InFront(Own):
            def compute_loss(self, *given: Any, **more: Any) -> Any:
                return super().compute_loss(*given, **more) + 1.0

        plain, more = (own_trainer(tiny, tmp_path, kind=kind, max_steps=1) for kind in (Own, InFront))
        for trainer in (plain, more):
            trainer.train()
        found, expected = losses(more.state.log_history), losses(plain.state.log_history)
        assert found == pytest.approx([value + 1 for value in expected], abs=1e-4)


class TestBadArguments:
    @pytest.mark.parametrize(
        ("change", "said"),
        [
            ({"packing": True}, "packing joins several samples in one row"),
            ({"padding_free": True}, "packing joins several samples in one row"),
            ({"fsdp": True}, "FSDP shards the model"),
            ({"deepspeed_plugin": SimpleNamespace(zero_stage=3)}, "DeepSpeed ZeRO-3 shards the model"),
            ({"_n_gpu": 2}, "one process would use 2 GPUs"),
            ({"loss_type": "dft"}, "asks for another loss"),
            ({"label_smoothing_factor": 0.1}, "asks for another loss"),
        ],
    )
    def test_what_cannot_be_done(
        self, tiny: VisionLanguageModel, tmp_path: Path, change: dict[str, Any], said: str
    ) -> None:
        args = arguments(TrainingArguments, tmp_path)
        args.n_gpu  # noqa: B018  # sets up the device, which would overwrite `_n_gpu`
        for name, value in change.items():
            object.__setattr__(args, name, value)
        with pytest.raises(PcvrError, match=said) as caught:
            Own(adapted(tiny), args, pcvr=BOTH, processing_class=tiny.processor, train_dataset=[{}])
        assert "\n" not in str(caught.value)

    def test_packing_of_trl(self, tiny: VisionLanguageModel, tmp_path: Path) -> None:
        with pytest.raises(PcvrError, match="packing joins several samples"):
            sft_trainer(tiny, tmp_path, packing=True)

    def test_micro_batches_of_one(self, tiny: VisionLanguageModel, tmp_path: Path) -> None:
        options: dict[str, Any] = {"per_device_train_batch_size": 1, "gradient_accumulation_steps": 4, "max_steps": 1}
        with pytest.raises(PcvrError, match="per_device_train_batch_size is 1, and the swap operator"):
            own_trainer(tiny, tmp_path, pcvr=AugmentOnly(), **options)
        own_trainer(tiny, tmp_path, pcvr=AugmentOnly(view=PatchView("shuffle")), **options).train()

    def test_another_loss(self, tiny: VisionLanguageModel, tmp_path: Path) -> None:
        with pytest.raises(PcvrError, match="compute_loss_func gets no images"):
            own_trainer(tiny, tmp_path, compute_loss_func=lambda *a, **k: 0)

    def test_no_processor(self, tiny: VisionLanguageModel, tmp_path: Path) -> None:
        with pytest.raises(PcvrError, match="give the model's own, AutoProcessor"):
            own_trainer(tiny, tmp_path, processing_class=None)

    def test_neither_adapter_nor_reference(self, tiny: VisionLanguageModel, tmp_path: Path) -> None:
        given: dict[str, Any] = {
            "args": arguments(TrainingArguments, tmp_path, max_steps=1),
            "pcvr": BOTH,
            "processing_class": tiny.processor,
            "train_dataset": rows_of(tiny, Numbers(4)),
            "data_collator": collator(tiny),
        }
        with pytest.raises(PcvrError, match="no adapter that could be turned off, and no reference"):
            Own(tiny.copy().model, **given)
        Own(tiny.copy().model, reference=tiny.model, **given).train()
