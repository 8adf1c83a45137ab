"""What modules take from transformers when they are imported, behind a check of what transformers imports itself."""

from __future__ import annotations

from pcvr.utils.torchvision import check_torchvision

check_torchvision()

from transformers import PrinterCallback, Trainer, TrainerCallback, TrainingArguments  # noqa: E402

__all__ = ["PrinterCallback", "Trainer", "TrainerCallback", "TrainingArguments"]
