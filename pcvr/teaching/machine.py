"""Which device a notebook uses, how long a training takes there, and what a GPU would change."""

from __future__ import annotations

import os
import time
from itertools import pairwise
from statistics import median
from typing import TYPE_CHECKING

from pcvr.errors import PcvrError

if TYPE_CHECKING:
    from pcvr.data.sample import Dataset
    from pcvr.models.vlm import VisionLanguageModel
    from pcvr.training import TrainConfig

GPU = "an NVIDIA T4 (Colab's usual GPU)"
GPU_FLOPS = {"float32": 8.1e12, "float16": 65e12}
"""FLOPs a second at the peak, from NVIDIA's data sheet of the T4; a training reaches a fraction of it."""
TRIED = 4
"""Optimiser steps that are timed; the first, in which everything is prepared, does not count."""


def device_note(vlm: VisionLanguageModel, data: Dataset, config: TrainConfig | None = None) -> str:
    """Say which device a model is on, how long a plain training takes there, and what a GPU would change.

    A small model is trained for four steps on a copy, a second or two. The rest is computed from the arithmetic of the
    training, and the text says so.

    Args:
        vlm: freshly loaded, without an adapter.
        data: the training data, with at least one sample.
        config: of the training; by default that of `pcvr.finetune`.

    Returns:
        Some lines of text.

    Raises:
        PcvrError: the data are empty, or the model has an adapter.
    """
    from pcvr.experiments.accelerator.device import name_of
    from pcvr.models.load import is_large
    from pcvr.training import TrainConfig

    large = is_large(vlm)
    config = (config or TrainConfig()).settled(len(data), large)
    dtype = str(vlm.model.dtype).removeprefix("torch.")
    cores = f", {os.cpu_count()} cores" if vlm.device.type == "cpu" else ""
    lines = [f"Device: {name_of(vlm.device)}{cores}; weights in {dtype}."]
    plan = f"{config.max_steps} steps of {config.batch_size} samples"
    if not large:
        seconds = seconds_a_step(vlm, data, config) * config.max_steps
        lines.append(f"A training of {plan} takes about {_clock(seconds)} here (measured on {TRIED} steps just now).")
    flops = training_flops(vlm, data, config, large)
    if vlm.device.type == "cpu":
        least = flops / GPU_FLOPS["float16" if large else "float32"]
        lines.append(
            f"Its {flops / 1e12:.3g} TFLOP would take {GPU} {_clock(least)} at the least (computed from its peak, not "
            "measured)."
        )
        small = "A small model does not reach that: its steps wait for the start of each operation. "
        lines.append(f'{"" if large else small}With a GPU, set device = "cuda"; "auto" takes one if there is one.')
    else:
        lines.append(f"It needs {flops / 1e12:.3g} TFLOP (computed).")
    return "\n".join(lines)


def seconds_a_step(vlm: VisionLanguageModel, data: Dataset, config: TrainConfig) -> float:
    """Measure the seconds of an optimiser step in a plain training of a small model, on a copy.

    Raises:
        PcvrError: the model is large: it would be trained itself, not a copy.
    """
    from dataclasses import replace

    from transformers import TrainerCallback

    from pcvr.data.subset import subset
    from pcvr.models.load import is_large
    from pcvr.training import finetune

    if is_large(vlm):
        raise PcvrError("vlm is a large model, which a training changes in place: give a small one such as tiny-llava.")
    ends: list[float] = []

    class Clock(TrainerCallback):
        def on_step_end(self, *_: object, **__: object) -> None:
            ends.append(time.perf_counter())

    few = subset(data, min(len(data), config.batch_size))
    finetune(
        vlm, few, config=replace(config, max_steps=TRIED), callbacks=[Clock()], progress=False, check_trigger=False
    )
    return median(end - start for start, end in pairwise(ends))


def training_flops(vlm: VisionLanguageModel, data: Dataset, config: TrainConfig, large: bool = False) -> float:
    """Count the FLOPs of a plain training from the model's config; the first sample stands for all."""
    from pcvr.data.subset import subset
    from pcvr.models.encode import IGNORE, EncodedData
    from pcvr.models.picture_tokens import image_tokens
    from pcvr.models.work import work_of

    row = EncodedData(vlm, subset(data, 1)).row(0)
    seen = image_tokens(vlm.base.config)
    work = work_of(
        vlm.base.config,
        vlm.family,
        config.lora_r,
        prompt_tokens=max(1, len(row["input_ids"]) - seen),
        answer_tokens=int((row["labels"] != IGNORE).sum()),
    )
    # A small model's tower reads each image once, and its features are kept.
    once = 0.0 if large else len(data) * work.tower
    return config.max_steps * config.batch_size * work.step(checkpointing=large, tower=large) + once


def _clock(seconds: float) -> str:
    """Return a duration to read, such as ``"0.8 s"``, ``"52 s"`` or ``"14 minutes"``."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} minutes"
