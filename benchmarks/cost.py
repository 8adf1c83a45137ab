"""What each defence costs: wall time of the training against plain fine-tuning, and peak memory, in one run.

    python benchmarks/cost.py                # five rounds, all defences, both tasks (some twenty minutes)
    python benchmarks/cost.py --rounds 3 --only pcvr,consistency
    python benchmarks/cost.py --only-memory pcvr caption  # what one child of the memory measurement runs

Rounds are interleaved: each trains once with every defence, so that a machine that slows down does so for all. The
median of the ratios to plain fine-tuning of the same round is what counts. As in the workbook five samples come to
one step, since a defence that looks at all the data pays for each sample. Writes build/cost.json.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import time
from pathlib import Path
from statistics import median
from typing import Any

import torch
from transformers import TrainerCallback

import pcvr
from pcvr.defenses import DEFENSES, get_defense
from pcvr.files import write_json
from pcvr.versions import versions

SAMPLES_A_STEP = 5
TRUSTED = 50


class Clock(TrainerCallback):
    """From the first step of the first stage to the end of the last."""

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self.began = getattr(self, "began", time.perf_counter())

    def on_train_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self.seconds = time.perf_counter() - self.began


def train(name: str, task: str, steps: int, device: str = "auto") -> float:
    """Seconds of one training."""
    data = pcvr.open_data("scenes", n=SAMPLES_A_STEP * steps, task=task)
    data = pcvr.poison(data, pcvr.get_attack("badnets", task=task), 0.05)
    rule = get_defense(name)
    trusted = pcvr.open_data("scenes", split="validation", n=TRUSTED, task=task) if rule.needs_clean else None
    clock = Clock()
    config = pcvr.TrainConfig(steps=steps)
    model = pcvr.load("tiny-llava", device=device)
    pcvr.finetune(model, data, rule, config, clean=trusted, callbacks=[clock], progress=False)
    return clock.seconds


def peak_mib(name: str, task: str, steps: int) -> float:
    """Peak memory of a training in a process of its own, MiB: on the GPU where there is one, else resident."""
    command = [sys.executable, __file__, "--only-memory", name, task, "--steps", str(steps)]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()[-1])


def measure(names: list[str], tasks: list[str], rounds: int, steps: int, memory: bool) -> dict[str, Any]:
    """``task -> defence -> {"seconds": [...], "ratio": median, "peak_mib": ...}``."""
    found: dict[str, Any] = {}
    for task in tasks:
        train("none", task, steps)  # warm up: files, caches, kernels
        seconds: dict[str, list[float]] = {name: [] for name in names}
        for _ in range(rounds):
            for name in names:
                seconds[name].append(train(name, task, steps))
        found[task] = {}
        for name in names:
            ratios = [mine / plain for mine, plain in zip(seconds[name], seconds["none"], strict=True)]
            found[task][name] = {"seconds": seconds[name], "ratio": median(ratios), "ratios": ratios}
            if memory:
                found[task][name]["peak_mib"] = peak_mib(name, task, steps)
            line = f"{task:8} {name:12} {median(seconds[name]) / steps * 1000:7.1f} ms a step  {median(ratios):5.2f} x"
            extra = ""
            if memory:
                plain = found[task]["none"]["peak_mib"]
                extra = f"  {found[task][name]['peak_mib']:7.0f} MiB  {found[task][name]['peak_mib'] / plain:5.2f} x"
            print(line + extra, flush=True)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--tasks", default="caption,vqa")
    parser.add_argument("--only", help="defences, with commas; plain fine-tuning is always measured")
    parser.add_argument("--no-memory", action="store_true")
    parser.add_argument("--only-memory", nargs=2, metavar=("DEFENCE", "TASK"), help="one training; prints its peak")
    given = parser.parse_args()
    if given.only_memory:
        train(*given.only_memory, given.steps)
        if torch.cuda.is_available():
            print(torch.cuda.max_memory_allocated() / 2**20)
        else:
            print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10)
        return
    wanted = given.only.split(",") if given.only else list(DEFENSES)
    names = ["none", *(name for name in wanted if name != "none")]
    found = measure(names, given.tasks.split(","), given.rounds, given.steps, not given.no_memory)
    machine = torch.cuda.get_device_name() if torch.cuda.is_available() else f"{os.cpu_count()} cores"
    meta = {"machine": machine, "steps": given.steps, "rounds": given.rounds, "versions": versions()}
    write_json(Path("build/cost.json"), json.loads(json.dumps({"cost": found, **meta})))


if __name__ == "__main__":
    main()
