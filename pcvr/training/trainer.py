"""The Hugging Face Trainer with a defence's loss, and with checkpoints that need no pickle."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.utils.data import SequentialSampler

from pcvr.models.encode import Collator
from pcvr.models.libraries import PrinterCallback, TrainerCallback, TrainingArguments
from pcvr.training.checkpoints import random_states, restore, set_random_states
from pcvr.training.defended_steps import DefendedSteps
from pcvr.training.grouped import GroupedOrder, check_groups
from pcvr.utils import distributed
from pcvr.utils.packing import undamaged

if TYPE_CHECKING:
    from pcvr.defenses import Defense
    from pcvr.defenses.context import TrainingContext
    from pcvr.training.checkpoints import Checkpoints
    from pcvr.training.config import TrainConfig

TRAINER_STATE = "trainer_state.json"
"""The Trainer reads its own counters from here, so this file keeps the Trainer's name and form."""


class DefenseTrainer(DefendedSteps):
    """A Trainer for one stage that asks the defence for its loss and knows no defence by name.

    Args:
        run: the training, at this stage.
        defense: gives the loss.
        config: of this stage, settled.
        samples: what is trained on.
        scratch: a folder that the Trainer asks for.
        callbacks: Trainer callbacks.
        last_step: optimiser step after which the stage ends; the learning rate may be planned for more.
        store: where checkpoints go; None for none.
        number: which stage it is, from 0.
        groups: group of each sample, or None, as in `pcvr.defenses.stage_plan.StagePlan`.
    """

    def __init__(
        self,
        run: TrainingContext,
        defense: Defense,
        config: TrainConfig,
        samples: Any,
        scratch: str,
        callbacks: Sequence[TrainerCallback],
        *,
        last_step: int,
        store: Checkpoints | None,
        number: int,
        groups: Sequence[int] | None = None,
    ) -> None:
        super().__init__(
            model=run.vlm.model,
            args=arguments(config, scratch, run),
            train_dataset=samples,
            data_collator=Collator(run.vlm.tokenizer.pad_token_id),
            callbacks=list(callbacks),
        )
        self.remove_callback(PrinterCallback)
        self.add_callback(_StageSteps(last_step, None if store is None else store.save_steps))
        # Labels of a step are counted over all its micro-batches and processes, and no loss is divided by their number.
        self.model_accepts_loss_kwargs = True
        self.run, self.defense, self.last_step, self.store, self.number = run, defense, last_step, store, number
        self.shuffle = config.shuffle
        self.grouped: GroupedOrder | None = None
        if groups is not None:
            check_groups(groups, len(samples))
            self.grouped = GroupedOrder(groups, config.batch_size, config.seed, self._epoch)
        self.history: list[dict[str, float]] = []
        self.loss_sum, self.logged_at = 0.0, 0  # since the last entry of the history, and the step of that entry
        self.resumed: dict[str, Any] = {}  # the content of the checkpoint that the stage resumes from

    def compute_loss(
        self,
        model: nn.Module,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: Any = None,
        **_: Any,
    ) -> Tensor:
        loss = self.defended_loss(inputs, num_items_in_batch)
        self.loss_sum += float(loss.detach())
        return loss

    def _epoch(self) -> int:
        """Number of the epoch that begins, counted in optimiser steps: right in every process, also on resuming."""
        return 0 if self.grouped is None else int(self.state.global_step) // self.grouped.steps

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        if "loss" in logs:
            step = self.state.global_step
            mean = self._loss_sums().mean() / (step - self.logged_at)
            logs = logs | {"loss": float(mean)} | self.run.log
            self.loss_sum, self.logged_at = 0.0, step
            self.history.append({"step": step, **logs})
        super().log(logs, start_time)

    def _loss_sums(self) -> Tensor:
        """`loss_sum` of each process, ``[world]``."""
        return distributed.gather(torch.tensor([self.loss_sum], dtype=torch.float64))

    def write_checkpoint(self, step: int | None) -> None:
        """Write a checkpoint of this stage at `step`; None: of its end."""
        store, run = self.store, self.run
        assert store is not None
        content: dict[str, Any] = {
            "stage": run.stage,
            "steps": run.steps,
            "step": run.step,
            "done": self.state.global_step,
            "history": self.history,
            "lost": self._loss_sums(),
            "logged_at": self.logged_at,
            "weights": {n: p for n, p in run.vlm.model.named_parameters() if p.requires_grad},
            "random": random_states(run),
            "state": run.state,
            "log": run.log,
        }
        if step is not None:
            content["optimizer"] = self.optimizer.state_dict()
            content["scheduler"] = self.lr_scheduler.state_dict()
            if self.accelerator.scaler is not None:
                content["scaler"] = self.accelerator.scaler.state_dict()
        if run.rank == 0:
            counters = json.dumps({k: v for k, v in vars(self.state).items() if k != "stateful_callbacks"})
            store.write(self.number, step, content, {TRAINER_STATE: counters})

    # The Trainer calls these when it orders the samples, writes a checkpoint or resumes from one.

    def _get_train_sampler(self, *given: Any, **named: Any) -> Any:
        if self.grouped is not None:
            return self.grouped
        return super()._get_train_sampler(*given, **named) if self.shuffle else SequentialSampler(self.train_dataset)

    def _save_checkpoint(self, model: nn.Module, trial: Any) -> None:
        if self.state.global_step < self.last_step:  # the end is written by `Stages`
            self.write_checkpoint(self.state.global_step)

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: nn.Module | None = None) -> None:
        assert self.store is not None
        content = self.resumed = self.store.read(resume_from_checkpoint, self.run.vlm.device.type)
        with undamaged(resume_from_checkpoint):
            restore(self.run, content, Path(resume_from_checkpoint))
            self.history = list(content["history"])
            self.loss_sum, self.logged_at = float(content["lost"][self.run.rank]), content["logged_at"]

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        if checkpoint is not None:
            self.optimizer.load_state_dict(self.resumed["optimizer"])
            self.lr_scheduler.load_state_dict(self.resumed["scheduler"])

    def _load_scaler(self, checkpoint: str | None) -> None:
        if "scaler" in self.resumed and self.accelerator.scaler is not None:
            self.accelerator.scaler.load_state_dict(self.resumed["scaler"])

    def _load_rng_state(self, checkpoint: str | None) -> None:
        if checkpoint is not None:
            set_random_states(self.run, self.resumed["random"])


class _StageSteps(TrainerCallback):
    """Ends a stage at its last step, which may lie before the end of the learning rate's plan; asks for checkpoints."""

    def __init__(self, last_step: int, save_steps: int | None) -> None:
        self.last_step, self.save_steps = last_step, save_steps

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if state.global_step >= self.last_step:
            control.should_training_stop = True
        if self.save_steps is not None and state.global_step % self.save_steps == 0:
            control.should_save = True


def arguments(config: TrainConfig, scratch: str, run: TrainingContext) -> TrainingArguments:
    """The Trainer's arguments for one stage; a step's samples are divided over micro-batches and processes."""
    vlm = run.vlm
    bf16 = config.precision == "bf16" or (config.precision is None and vlm.model.dtype is torch.bfloat16)
    return TrainingArguments(
        output_dir=scratch,
        max_steps=config.max_steps,
        per_device_train_batch_size=config.batch_size // (config.gradient_accumulation_steps * run.world),
        gradient_accumulation_steps=config.gradient_accumulation_steps,
        average_tokens_across_devices=True,
        learning_rate=config.peak,
        lr_scheduler_type="linear",
        warmup_steps=round(config.warmup_ratio * config.max_steps),
        weight_decay=0.0,
        max_grad_norm=1.0,
        save_strategy="no",
        logging_steps=10 if config.max_steps >= 10 else 1,
        report_to="none",
        remove_unused_columns=False,
        label_names=["labels"],
        disable_tqdm=True,
        seed=config.seed,
        use_cpu=vlm.device.type == "cpu",
        bf16=bf16,
        fp16=config.precision is None and vlm.model.dtype is torch.float16 and vlm.device.type == "cuda",
        dataloader_pin_memory=False,
    )
