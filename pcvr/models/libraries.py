"""Names from transformers for use at import time, after a check of torchvision, which transformers imports."""

from __future__ import annotations

from pcvr.utils.torchvision import check_torchvision

check_torchvision()

from transformers import PrinterCallback, Trainer, TrainerCallback, TrainingArguments  # noqa: E402

__all__ = ["PrinterCallback", "Trainer", "TrainerCallback", "TrainingArguments"]
