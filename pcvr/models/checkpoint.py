"""Save an embedded checkpoint: half-precision safetensors, processor, training record, model card."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pcvr.files import new_folder, write_json, write_text
from pcvr.versions import versions

if TYPE_CHECKING:
    from pcvr.models.pretrain import PretrainConfig

CARD = """---
license: apache-2.0
library_name: transformers
pipeline_tag: image-text-to-text
---
# {name}

A tiny vision language model for teaching, trained from nothing on procedurally drawn scenes (package `pcvr`).
It lists objects in telegram style, answers short questions about its scenes and repeats sentences. It is fine-tuned
(and, in the workbook, backdoored and defended) on natural captions. Not meant for anything else.

| | |
|---|---|
| parameters | {parameters:,} |
| steps x batch | {steps} x {batch} |
| seed | {seed} |
| seconds | {seconds:.0f} on {device} |
| final loss | {loss:.3f} (answers, nats a token) |
| made by | `pcvr pretrain {name}` on {date} |
"""


def save_checkpoint(
    model: Any,
    processor: Any,
    out: str | Path,
    *,
    name: str,
    config: PretrainConfig,
    seconds: float,
    losses: Sequence[Sequence[Any]],
) -> dict[str, Any]:
    """Write model, processor, ``training.json`` and ``README.md`` to folder `out`, whole or not at all.

    Weights are stored as float16 (half the size, far finer than the training noise) while the config asks for
    float32, so that the Auto classes open a model that computes in float32.

    Returns:
        The training record.
    """
    import torch

    from pcvr.models.load import quiet_loading

    record = {
        "name": name,
        "config": asdict(config),
        "seconds": round(seconds, 1),
        "device": str(next(model.parameters()).device),
        "threads": torch.get_num_threads(),
        "date": datetime.now(UTC).date().isoformat(),
        "versions": versions(),
        "losses": [list(each) for each in losses],
    }
    with quiet_loading(), new_folder(out, replace=True) as folder:
        halves = {k: v.half() for k, v in model.state_dict().items() if v.is_floating_point()}
        model.config.dtype = torch.float32
        model.save_pretrained(folder, state_dict={**model.state_dict(), **halves})
        processor.save_pretrained(folder)
        record["sha256"] = hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()
        write_json(folder / "training.json", record)
        card = CARD.format(
            name=name,
            parameters=sum(p.numel() for p in model.parameters()),
            steps=config.steps,
            batch=config.batch_size,
            seed=config.seed,
            seconds=seconds,
            device=f"{record['device']}, {record['threads']} threads",
            loss=losses[-1][-1] if losses else float("nan"),
            date=record["date"],
        )
        write_text(folder / "README.md", card)
    return record
