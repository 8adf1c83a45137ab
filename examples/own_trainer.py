"""Fine-tune with PCVR in a transformers Trainer of your own.

python examples/own_trainer.py --model llava-hf/llava-1.5-7b-hf --data data.json
"""

from __future__ import annotations

from collections.abc import Sequence

from records import Collator, options, peft_model, read
from transformers import Trainer, TrainingArguments

import pcvr  # before torch: it sets how waiting threads wait


class DefendedTrainer(pcvr.PCVRMixin, Trainer):
    """Your Trainer, with PCVR's loss in front of its own."""


def main(argv: Sequence[str] | None = None) -> list[float]:
    """Train, and return the loss of each step."""
    given = options(__doc__).parse_args(argv)
    model, processor = peft_model(given.model, given.seed)
    trainer = DefendedTrainer(
        model,
        TrainingArguments(
            output_dir=str(given.out),
            max_steps=given.steps,
            per_device_train_batch_size=given.batch_size,
            learning_rate=given.learning_rate,
            seed=given.seed,
            logging_steps=1,
            report_to="none",
            remove_unused_columns=False,  # the collator needs the records' own columns
        ),
        pcvr=pcvr.PCVRConfig(),
        processing_class=processor,
        train_dataset=read(given.data),
        data_collator=Collator(processor),
    )
    trainer.train()
    model.save_pretrained(given.out / "adapter")
    print("flagged records:", trainer.flagged())
    return [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]


if __name__ == "__main__":
    main()
