"""Fine-tune with PCVR in TRL's SFTTrainer, with TRL's own collator for images.

python examples/trl_sft.py --model llava-hf/llava-1.5-7b-hf --data data.json
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from datasets import Dataset, Features, Image, Value
from records import options, peft_model, read, turns
from trl import SFTConfig, SFTTrainer

import pcvr  # before torch: it sets how waiting threads wait


class DefendedSFT(pcvr.PCVRMixin, SFTTrainer):
    """TRL's trainer, with PCVR's loss in front of its own."""


def main(argv: Sequence[str] | None = None) -> list[float]:
    """Train, and return the loss of each step."""
    given = options(__doc__).parse_args(argv)
    model, processor = peft_model(given.model, given.seed)
    trainer = DefendedSFT(
        model,
        SFTConfig(
            output_dir=str(given.out),
            max_steps=given.steps,
            per_device_train_batch_size=given.batch_size,
            learning_rate=given.learning_rate,
            seed=given.seed,
            logging_steps=1,
            report_to="none",
            bf16=torch.cuda.is_available(),
            max_length=None,  # a cut would take image tokens away
        ),
        pcvr=pcvr.PCVRConfig(),
        processing_class=processor,
        train_dataset=table(read(given.data)),
    )
    trainer.train()
    model.save_pretrained(given.out / "adapter")
    print("flagged records:", trainer.flagged())
    return [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]


def table(records: list[dict]) -> Dataset:
    """Return records as TRL's table of prompts, completions and images; only the completions are learned."""
    turn = [{"role": Value("string"), "content": Value("string")}]
    features = Features({"images": [Image()], "prompt": turn, "completion": turn})
    rows = []
    for record in records:
        asked, answered = ({"role": each["role"], "content": each["content"][-1]["text"]} for each in turns(record))
        rows.append({"images": record["images"], "prompt": [asked], "completion": [answered]})
    return Dataset.from_list(rows, features=features)


if __name__ == "__main__":
    main()
