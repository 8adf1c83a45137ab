"""Training data and loops of one's own, as other people's programs have them: rows, a collator, a peft model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from pcvr import VisionLanguageModel
from pcvr.data.sample import Dataset
from pcvr.models.encode import Batch, Collator, encode_samples
from pcvr.training import TrainConfig
from pcvr.training.finetune import with_adapter

CONFIG = TrainConfig(max_steps=6, batch_size=4, learning_rate=1e-2, lora_r=4, lora_alpha=8)


def rows_of(vlm: VisionLanguageModel, data: Dataset) -> list[Batch]:
    """The samples as rows of tensors, without an index."""
    return encode_samples(vlm, [data[i] for i in range(len(data))])


def collator(vlm: VisionLanguageModel) -> Collator:
    return Collator(vlm.tokenizer.pad_token_id)


def adapted(vlm: VisionLanguageModel, seed: int = 0) -> Any:
    """A copy of the model with the adapter that `finetune` gives it."""
    torch.manual_seed(seed)
    return with_adapter(vlm.copy(), CONFIG).model


def arguments(kind: Any, folder: Any, **more: Any) -> Any:
    """The arguments that `finetune` gives its Trainer."""
    return kind(
        output_dir=str(folder),
        **{
            "max_steps": CONFIG.max_steps,
            "per_device_train_batch_size": CONFIG.batch_size,
            "learning_rate": CONFIG.learning_rate,
            "lr_scheduler_type": "linear",
            "warmup_steps": round(CONFIG.warmup_ratio * CONFIG.max_steps),
            "max_grad_norm": 1.0,
            "weight_decay": 0.0,
            "logging_steps": 1,
            "save_strategy": "no",
            "report_to": "none",
            "remove_unused_columns": False,
            "disable_tqdm": True,
            "seed": 0,
            "use_cpu": True,
            "dataloader_pin_memory": False,
        }
        | more,
    )


def losses(history: Sequence[dict[str, Any]]) -> list[float]:
    """The training losses of a Trainer's log."""
    return [entry["loss"] for entry in history if "loss" in entry]
