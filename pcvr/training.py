"""``finetune``: a Hugging Face Trainer with a peft adapter, whose loss the defence supplies."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from transformers import PrinterCallback, Trainer, TrainerCallback, TrainingArguments

from pcvr.checks import is_whole
from pcvr.defenses import DEFENSES, Defense, get_defense
from pcvr.errors import PcvrError
from pcvr.models.encode import Collator, EncodedData
from pcvr.models.load import LARGE
from pcvr.run import Run

if TYPE_CHECKING:
    from pcvr.data.sample import Dataset
    from pcvr.models.vlm import VisionLanguageModel


@dataclass(frozen=True)
class TrainConfig:
    """How a model is fine-tuned; the same for every defence, so that only the defence differs."""

    steps: int = field(default=400, metadata={"help": "optimiser steps"})
    batch_size: int = field(default=32, metadata={"help": "samples a step"})
    learning_rate: float = field(default=4e-3, metadata={"help": "peak learning rate, linear decay to zero"})
    warmup: float = field(default=0.06, metadata={"help": "share of the steps in which the rate rises"})
    rank: int = field(default=32, metadata={"help": "LoRA rank"})
    alpha: int = field(default=64, metadata={"help": "LoRA scale is alpha / rank"})
    seed: int = field(default=0, metadata={"help": "seed of adapter, order and views"})
    checkpointing: bool | None = field(
        default=None, metadata={"help": "gradient checkpointing: less memory, more time; None: for large models only"}
    )

    def __post_init__(self) -> None:
        for name in ("steps", "batch_size", "rank", "alpha"):
            if not is_whole(getattr(self, name)) or getattr(self, name) < 1:
                raise PcvrError(f"{name} must be a whole number, at least 1, got {getattr(self, name)!r}.")
        if not is_whole(self.seed) or not 0 <= self.seed < 2**32:
            raise PcvrError(f"seed must be a whole number from 0 to 2**32 - 1, got {self.seed!r}.")
        if not 0 < self.learning_rate < math.inf:
            raise PcvrError(f"learning_rate must be a finite number above 0, got {self.learning_rate}.")
        if not 0 <= self.warmup < 1:
            raise PcvrError(f"warmup must lie in [0, 1), got {self.warmup}.")


@dataclass
class FinetuneResult:
    """A fine-tuned model and how it came about.

    Attributes:
        model: the model with its adapter on, ready to answer.
        defense: the defence that supplied the loss.
        config: the training config.
        history: one dict every ten steps, or every step of a run of fewer: ``step``, ``loss``, the defence's figures.
        seconds: wall time of encoding and training.
        run: the defence's last state (gates, scores) and the encoded data.
    """

    model: VisionLanguageModel
    defense: Defense
    config: TrainConfig
    history: list[dict[str, float]]
    seconds: float
    run: Run

    def save(self, folder: str | Path) -> Path:
        """Write the adapter to `folder` (plain peft opens it), whole or not at all."""
        return self.model.save_adapter(folder)


def finetune(
    model: VisionLanguageModel,
    data: Dataset,
    defense: str | Defense = "none",
    config: TrainConfig | None = None,
    *,
    clean: Dataset | None = None,
    callbacks: Sequence[TrainerCallback] = (),
    progress: bool = True,
) -> FinetuneResult:
    """Fine-tune `model` on `data` with low-rank adapters on connector and language model; the tower stays frozen.

    Args:
        model: from `pcvr.load`. Small models are copied first; one above 200 M parameters is adapted in place, with
            gradient checkpointing.
        data: samples with answers, poisoned or not.
        defense: a name (``"none"``, ``"augment"``, ``"pcvr"``) or a defence with its own options.
        config: steps, batch size, learning rate, rank, seed.
        clean: samples that the defender trusts, for the defences that need some.
        callbacks: Trainer callbacks, for live plots or a stop button.
        progress: whether a progress bar is shown.

    Raises:
        PcvrError: unknown defence, empty data, a loss that is no number any more, a model adapted already, or a defence
            that needs clean data without any.
    """
    config = config or TrainConfig()
    rule = get_defense(defense) if isinstance(defense, str) else defense
    if not isinstance(rule, Defense):
        raise PcvrError(f"defense is {rule!r}: give a name ({', '.join(sorted(DEFENSES))}) or one built, as PCVR().")
    if rule.needs_clean and not clean:
        raise PcvrError(f"defence {rule.name!r} needs clean data: give finetune(clean=...) some trusted samples.")
    if model.adapted:
        raise PcvrError("the model has an adapter already: finetune() a freshly loaded one.")
    began = time.perf_counter()
    torch.manual_seed(config.seed)
    large = sum(p.numel() for p in model.model.parameters()) > LARGE
    vlm = with_adapter(model if large else model.copy(), config)
    if large if config.checkpointing is None else config.checkpointing:
        # Its name changed in transformers 5.23; the older one warns there.
        enable = getattr(vlm.base, "activation_checkpointing_enable", None) or vlm.base.gradient_checkpointing_enable
        enable({"use_reentrant": False})
    encoded = EncodedData(vlm, data)
    run = Run(vlm=vlm, data=encoded, steps=config.steps, seed=config.seed)
    if clean:
        run.clean = EncodedData(vlm, clean)
    with ExitStack() as stack:
        scratch = stack.enter_context(TemporaryDirectory(prefix="pcvr-"))
        if vlm.device.type == "cpu" and not large:
            stack.enter_context(plain_attention(vlm))
        for kept in (encoded, run.clean):
            if kept is not None:
                kept.keep_features()
        fit = _Stages(run, rule, config, scratch, [*callbacks, *([_Progress()] if progress else [])])
        rule.begin(run)
        rule.train(run, fit)
    vlm.model.eval()
    return FinetuneResult(vlm, rule, config, fit.history, time.perf_counter() - began, run)


def with_adapter(vlm: VisionLanguageModel, config: TrainConfig) -> VisionLanguageModel:
    """Put a fresh LoRA adapter on the family's target modules; everything else is frozen."""
    from peft import LoraConfig, get_peft_model

    from pcvr.models.quiet import quiet_loading

    adapter = LoraConfig(
        r=config.rank, lora_alpha=config.alpha, target_modules=vlm.family.lora_targets, lora_dropout=0.0
    )
    with quiet_loading():
        return replace(vlm, model=get_peft_model(vlm.model, adapter))


@contextmanager
def plain_attention(vlm: VisionLanguageModel) -> Iterator[None]:
    """Inside the block attention is written out: on a CPU torch's fused one is slow in the backward pass."""
    before = vlm.base.config._attn_implementation
    vlm.base.set_attn_implementation("eager")
    try:
        yield
    finally:
        vlm.base.set_attn_implementation(before)


class _Stages:
    """Trains stage by stage, as `pcvr.defenses.base.Fit` says; remembers the history of all of them."""

    def __init__(
        self, run: Run, rule: Defense, config: TrainConfig, scratch: str, callbacks: Sequence[TrainerCallback]
    ) -> None:
        self.run, self.rule, self.config, self.scratch, self.callbacks = run, rule, config, scratch, callbacks
        self.history: list[dict[str, float]] = []
        self.untrained = {n: p.detach().clone() for n, p in run.vlm.model.named_parameters() if p.requires_grad}

    def __call__(
        self,
        stage: str = "train",
        *,
        share: float = 1.0,
        rate: float = 1.0,
        rows: Sequence[int] | None = None,
        clean: bool = False,
        fresh: bool = False,
        stop: float = 1.0,
    ) -> None:
        run, model = self.run, self.run.vlm.model
        if fresh:
            with torch.no_grad():
                for name, parameter in model.named_parameters():
                    if name in self.untrained:
                        parameter.copy_(self.untrained[name])
        run.stage, run.steps = stage, max(1, round(share * self.config.steps))
        config = replace(self.config, steps=run.steps, learning_rate=rate * self.config.learning_rate)
        samples: Any = run.clean if clean else run.data
        done = self.history[-1]["step"] if self.history else 0
        trainer = _DefenseTrainer(
            run,
            self.rule,
            model=model,
            args=_arguments(config, self.scratch, run.vlm),
            train_dataset=samples if rows is None else torch.utils.data.Subset(samples, list(rows)),
            data_collator=Collator(run.vlm.tokenizer.pad_token_id),
            callbacks=[*self.callbacks, *([_Stop(max(1, round(stop * run.steps)))] if stop < 1 else [])],
        )
        trainer.remove_callback(PrinterCallback)
        trainer.train()
        self.history += [entry | {"step": entry["step"] + done} for entry in trainer.history]


def _arguments(config: TrainConfig, scratch: str, vlm: VisionLanguageModel) -> TrainingArguments:
    return TrainingArguments(
        output_dir=scratch,
        max_steps=config.steps,
        per_device_train_batch_size=config.batch_size,
        learning_rate=config.learning_rate,
        lr_scheduler_type="linear",
        warmup_steps=round(config.warmup * config.steps),
        weight_decay=0.0,
        max_grad_norm=1.0,
        save_strategy="no",
        logging_steps=10 if config.steps >= 10 else 1,
        report_to="none",
        remove_unused_columns=False,
        label_names=["labels"],
        disable_tqdm=True,
        seed=config.seed,
        use_cpu=vlm.device.type == "cpu",
        bf16=vlm.model.dtype is torch.bfloat16,
        fp16=vlm.model.dtype is torch.float16 and vlm.device.type == "cuda",
        dataloader_pin_memory=False,
    )


class _DefenseTrainer(Trainer):
    """A Trainer that asks the defence for its loss and knows no defence by name."""

    def __init__(self, run: Run, rule: Defense, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.run, self.rule = run, rule
        self.history: list[dict[str, float]] = []

    def compute_loss(self, model: nn.Module, inputs: dict[str, Any], return_outputs: bool = False, **_: Any) -> Tensor:
        self.run.step = self.state.global_step
        loss = self.rule.loss(self.run, inputs)
        if not torch.isfinite(loss):
            raise PcvrError(
                f"the loss is {loss.item()} at step {self.run.step}: lower learning_rate "
                f"(now {self.args.learning_rate:g}) or check the data for empty answers."
            )
        return loss

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        if "loss" in logs:
            logs = logs | self.run.log
            self.history.append({"step": self.state.global_step, **logs})
        super().log(logs, start_time)


class _Stop(TrainerCallback):
    """Ends a stage after some steps of its plan."""

    def __init__(self, steps: int) -> None:
        self.steps = steps

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if state.global_step >= self.steps:
            control.should_training_stop = True


class _Progress(TrainerCallback):
    """A tqdm bar with the loss, in a notebook or a terminal."""

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        from tqdm.auto import tqdm

        self.bar = tqdm(total=state.max_steps, desc="fine-tuning", unit="step")

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self.bar.update(1)

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:
        if logs and "loss" in logs:
            self.bar.set_postfix(loss=f"{float(logs['loss']):.3f}")

    def on_train_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self.bar.close()
