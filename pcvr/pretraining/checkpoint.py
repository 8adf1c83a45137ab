"""Save an embedded checkpoint: half-precision safetensors, processor, training record, model card."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pcvr.models.zoo import EMBEDDED
from pcvr.pretraining.config import PretrainConfig
from pcvr.utils.files import new_folder, write_json, write_text
from pcvr.utils.renamed import current_names
from pcvr.utils.versions import versions

_HEAD = """---
license: apache-2.0
library_name: transformers
pipeline_tag: image-text-to-text
---
# {name}

{about}.

A tiny vision language model for teaching, trained from nothing on procedurally drawn scenes (package `pcvr`).
It describes scenes in telegram style, answers questions about them in a word and repeats sentences. It is fine-tuned
(and, in the workbook, backdoored and defended) on natural captions and on questions. Not meant for anything else.

"""


def model_card(record: Mapping[str, Any]) -> str:
    """Return the model card of a training record: description, recipe and quality."""
    config = current_names(PretrainConfig, record["config"])
    losses = [each[1] for each in record["losses"] if each[1] is not None]
    rows = {
        "data": f"{config['pictures']:,} drawn scenes of two or three objects, {config['corrupted']:.0%} with overlays",
        "parameters": f"{record['parameters']:,}",
        "steps x batch": f"{config['max_steps']} x {config['batch_size']}",
        "seed": str(config["seed"]),
        "seconds": f"{record['seconds']:.0f} on {record['device']}, {record['threads']} threads",
        "final loss": f"{losses[-1]:.3f} nats a token of answers" if losses else "no answers yet",
    }
    for label, value in record.get("quality", {}).items():
        rows[label] = f"{100 * value:.1f} %" if isinstance(value, float) else str(value)
    rows["made by"] = f"`pcvr pretrain {record['name']}` on {record['date']}"
    table = "\n".join(["| | |", "|---|---|", *(f"| {label} | {value} |" for label, value in rows.items())])
    return _HEAD.format(name=record["name"], about=record["about"]) + table + "\n"


def add_quality(folder: str | Path, quality: Mapping[str, float | int]) -> dict[str, Any]:
    """Write the quality of a saved checkpoint into its record and card; return the record."""
    file = Path(folder) / "training.json"
    record: dict[str, Any] = json.loads(file.read_text(encoding="utf-8")) | {"quality": dict(quality)}
    write_json(file, record)
    write_text(Path(folder) / "README.md", model_card(record))
    return record


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

    Weights are stored as float16 (half the size; the rounding is far below the training noise). The config states
    float32, so that the Auto classes open a float32 model.

    Returns:
        The training record.
    """
    import torch

    from pcvr.models.quiet import quiet_loading

    record = {
        "name": name,
        "about": EMBEDDED[name].about if name in EMBEDDED else "A model for tests",
        "parameters": sum(p.numel() for p in model.parameters()),
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
        write_text(folder / "README.md", model_card(record))
    return record
