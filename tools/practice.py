"""The tables of ``docs/practitioner.md`` and ``docs/scaling.md``: what each defence needs, and what an epoch costs."""

from __future__ import annotations

import torch

from pcvr.experiments.accelerator.shapes import FULL, config_of
from pcvr.experiments.access import ACCESS, HAVE, NOT_BUILT, STEPS, by_needs
from pcvr.experiments.price import FLAGGED, Run, prices
from pcvr.models.budget import Costs
from pcvr.models.families import LLAVA
from pcvr.models.memory import GIB, estimate
from pcvr.models.work import work_of
from pcvr.training.config import TrainConfig

SIZES = (10_000, 100_000, 665_000)
"""Samples of an epoch in the table of prices; the last is the size of LLaVA-1.5's own fine-tuning data."""


def access_table() -> list[str]:
    """Return a row for each defence, sorted by what a defender must have; below it what was not built."""
    order = [step.needs for step in STEPS if step.needs is not None]
    lines = ["| what you need | defence | when it works | what it does |", "|---|---|---|---|"]
    for needs, rows in sorted(by_needs().items(), key=lambda pair: (order.index(pair[0]), pair[1])):
        said = ", and ".join(text for key, text in HAVE.items() if key in needs)
        for row in rows:
            lines.append(f"| {said} | `{row}` | {ACCESS[row].when} | {ACCESS[row].idea} |")
    return [*lines, "", f"*Named in the literature and not built here: {', '.join(NOT_BUILT)}.*"]


def price_table() -> list[str]:
    """Return what an epoch on LLaVA-1.5-7B costs with PCVR, relative to a plain one."""
    config, half = config_of(FULL), torch.bfloat16
    work, needed = work_of(config, LLAVA, TrainConfig().lora_r), estimate(config, half)
    costs = Costs.of_config(config, half)
    most_flagged = f"the same, {100 * FLAGGED:g} % flagged"
    heads = ("samples", "plain epoch, PFLOP", "computing", most_flagged, "pictures prepared", "memory", "disk")
    lines = [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
    for samples in SIZES:
        plain, ours = prices(work, Run(samples, picture_ms=1), needed, costs)
        _, most = prices(work, Run(samples, FLAGGED, picture_ms=1), needed, costs)
        ratios = (
            ours.flops / plain.flops,
            most.flops / plain.flops,
            ours.pictures / plain.pictures,
            ours.memory / plain.memory,
            ours.disk / plain.disk,
        )
        said = " | ".join(f"{ratio:.3f} x" for ratio in ratios)
        lines.append(f"| {samples:,} | {plain.flops / 1e15:,.0f} | {said} |")
    return [
        *lines,
        "",
        f"*PCVR beside a plain epoch; {FULL.name} in bfloat16, {work.tokens} tokens a sample, gradient checkpointing, "
        f"LoRA of rank {TrainConfig().lora_r}. A plain epoch needs {plain.memory / GIB:.1f} GiB with one sample at a "
        "time. From shapes, by `pcvr.experiments.price`.*",
    ]
