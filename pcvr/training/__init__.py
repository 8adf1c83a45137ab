"""Fine-tuning with a defence: ``finetune``, its config and its result; and the same in trainers of your own."""

from pcvr.training.config import TrainConfig
from pcvr.training.finetune import finetune
from pcvr.training.result import FinetuneResult

__all__ = ["FinetuneResult", "TrainConfig", "finetune"]
