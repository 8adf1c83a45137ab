"""Whether the gate says the same in half precision: one training of an embedded model in each precision.

Weights and computation have the precision, the adapter stays in float32, and float16 has a scaled loss: as a large
model is trained. TF32 stays off, as torch has it. Two trainings in float32 differ on a GPU too, where sums have no
fixed order; so float32 runs twice there, and the second time says how much of a difference is the precision's.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from pcvr.experiments.accelerator.device import name_of
from pcvr.experiments.experiment import Experiment
from pcvr.experiments.gate_report import gate_report
from pcvr.experiments.run import materials_of, train
from pcvr.models.load import load

REFERENCE = "fp32"
AGAIN = "fp32 again"
DTYPES = {REFERENCE: "float32", AGAIN: "float32", "bf16": "bfloat16", "fp16": "float16"}
"""Precisions by the dtypes of their weights; fine-tuning computes in these."""


def precisions_on(device: torch.device) -> tuple[str, ...]:
    """Return the precisions that a device trains in, the reference first; on a CPU a run can be repeated exactly."""
    if device.type != "cuda":
        return REFERENCE, "bf16"
    native = torch.cuda.is_bf16_supported(including_emulation=False)  # not by GPUs before Ampere
    return tuple(name for name in DTYPES if name != "bf16" or native)


def compare_precisions(
    plan: Sequence[Experiment], device: torch.device, precisions: Sequence[str] | None = None
) -> Iterator[dict[str, Any]]:
    """Train each experiment in each precision, and compare which samples the gate flags.

    Args:
        plan: experiments with a gate that streams, on poisoned data.
        device: where.
        precisions: names of `DTYPES`, `REFERENCE` first; by default `precisions_on`.

    Yields:
        Plain values: ``row`` (its name), ``device``, ``config`` of the experiment, ``precision``, ``seconds`` of the
        training, ``gate`` (see `pcvr.experiments.gate_report`), ``flagged`` (indices), ``agreement``, the fraction of
        samples of which the reference says the same, and ``overlap``, what both flag over what any of them flags (1 if
        none).
    """
    for experiment in plan:
        given = materials_of(experiment)
        reference = np.zeros(0, dtype=bool)
        for precision in precisions or precisions_on(device):
            vlm = load(experiment.model, device=str(device), dtype=DTYPES[precision])
            result = train(experiment, replace(given, vlm=vlm))
            count = len(given.train)
            (quality,) = gate_report(result.run.state, given.poisoned, count)
            flagged = np.zeros(count, dtype=bool)
            known = result.run.state["stream"].flagged[:count]
            flagged[: len(known)] = known
            if precision == REFERENCE:
                reference = flagged
            either = int((flagged | reference).sum())
            yield {
                "row": f"gate: {precision}, seed {experiment.seed}",
                "device": name_of(device),
                "config": experiment.to_dict(),
                "precision": precision,
                "seconds": round(result.seconds, 2),
                "gate": quality,
                "flagged": np.flatnonzero(flagged).tolist(),
                "agreement": float((flagged == reference).mean()),
                "overlap": int((flagged & reference).sum()) / either if either else 1.0,
            }


def precision_lines(rows: Sequence[dict[str, Any]]) -> list[str]:
    """Return a line for the terminal for each training."""
    return [
        f"{row['row']:36} verdict: {row['gate']['verdict']}  flagged {len(row['flagged'])}  "
        f"recall {100 * row['gate'].get('recall', 0):5.1f} %  false alarms {row['gate']['false alarms']}  "
        f"as fp32 on {100 * row['agreement']:6.2f} % of the samples, overlap {row['overlap']:.3f}  "
        f"{row['seconds']:.0f} s"
        for row in rows
    ]
