"""Fine-tune with PCVR in a training loop of your own, in plain torch.

python examples/plain_loop.py --model llava-hf/llava-1.5-7b-hf --data data.json
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from records import Collator, options, peft_model, read
from safetensors.torch import save_file

import pcvr  # before torch: it sets how waiting threads wait


def main(argv: Sequence[str] | None = None) -> list[float]:
    """Train, and return the loss of each step."""
    given = options(__doc__).parse_args(argv)
    model, processor = peft_model(given.model, given.seed)
    data, collate = read(given.data), Collator(processor)
    regularizer = pcvr.PCVRRegularizer(pcvr.PCVRConfig(), model, processor, seed=given.seed)
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trained, given.learning_rate, weight_decay=0.0)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1 - step / given.steps)
    losses = []
    model.train()
    for _, rows in zip(range(given.steps), order(len(data), given.batch_size, given.seed), strict=False):
        batch = {name: value.to(model.device) for name, value in collate([data[row] for row in rows]).items()}
        loss = regularizer(model, batch, index=rows)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
        losses.append(float(loss.detach()))
    model.save_pretrained(given.out / "adapter")
    save_file(regularizer.state_dict(), given.out / "pcvr.safetensors")  # load_state_dict() goes on from it
    print("flagged records:", regularizer.flagged())
    return losses


def order(samples: int, batch_size: int, seed: int) -> Iterator[list[int]]:
    """Yield the rows of each batch, epoch after epoch, in the order of accelerate's sampler."""
    epoch = 0
    while True:
        shuffled = torch.randperm(samples, generator=torch.Generator().manual_seed(seed + epoch)).tolist()
        yield from (shuffled[start : start + batch_size] for start in range(0, samples, batch_size))
        epoch += 1


if __name__ == "__main__":
    main()
