"""Measure what each defence costs against plain fine-tuning in the same call: wall time and peak memory.

    python benchmarks/cost.py                # five rounds, all defences, both tasks (some twenty minutes)
    python benchmarks/cost.py --only pcvr    # this defence again, or a new one; other rows stay
    python benchmarks/cost.py --only-memory pcvr caption  # one training of the memory measurement

Rounds are interleaved: each trains once with every defence, so that a slower machine affects all alike. The result is
the median of the ratios to plain fine-tuning of the same round. As in the workbook, a training has five samples for
each step: a defence that scores all the data pays for each sample.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import time
from pathlib import Path
from statistics import median
from typing import Any

import pcvr  # before torch: it sets how waiting threads wait

# isort: split
import torch
from tqdm.auto import tqdm

from pcvr.defenses import DEFENSES, get_defense
from pcvr.defenses.context import TrainingContext
from pcvr.defenses.stored_options import options_to_store
from pcvr.experiments.benchmark import command
from pcvr.experiments.results import FOLDER, ready, save
from pcvr.training.callback_base import StageCallback
from pcvr.utils.checks import check_choice
from pcvr.utils.terminal import run_command

SAMPLES_A_STEP = 5
TRUSTED = 50
FORMS: dict[str, tuple[str, dict[str, Any]]] = {"pcvr, two_stage": ("pcvr", {"gate": "two_stage"})}
"""Rows that are not a defence with its defaults: name and options of the defence."""


class Gauge(StageCallback):
    """Measure seconds from the first work of the defence to the end of its last stage, and the peak memory, in MiB.

    On a GPU the memory is what torch allocated, otherwise the memory of the process, the program included. Linux keeps
    the highest peak since the process began, loading included, and a child inherits it; so the peak is reset first.
    """

    def on_defense(self, run: TrainingContext) -> None:
        if torch.cuda.is_available():
            torch.cuda.reset_peak_memory_stats()
        else:
            Path("/proc/self/clear_refs").write_text("5")
        self.began = time.perf_counter()

    def on_train_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self.seconds = time.perf_counter() - self.began
        if torch.cuda.is_available():
            self.mib = torch.cuda.max_memory_allocated() / 2**20
        else:
            self.mib = int(re.findall(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())[0]) / 2**10


def train(name: str, task: str, steps: int) -> Gauge:
    """Train once, with a defence or one of `FORMS`."""
    data = pcvr.open_data("scenes", n=SAMPLES_A_STEP * steps, task=task)
    data = pcvr.poison(data, pcvr.get_attack("badnets", task=task), 0.05)
    defense, options = FORMS.get(name, (name, {}))
    rule = get_defense(defense, **options)
    trusted = pcvr.open_data("scenes", split="validation", n=TRUSTED, task=task) if rule.needs_clean else None
    gauge = Gauge()
    config = pcvr.TrainConfig(max_steps=steps)
    model = pcvr.load("tiny-llava")
    pcvr.finetune(model, data, rule, config, clean=trusted, callbacks=[gauge], progress=False)
    return gauge


def peak_mib(name: str, task: str, steps: int) -> float:
    """Return the peak memory of a training in its own process, in MiB."""
    command = [sys.executable, __file__, "--only-memory", name, task, "--max-steps", str(steps)]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()[-1])


def timed(names: list[str], task: str, rounds: int, steps: int) -> list[dict[str, Any]]:
    """Return a row for each defence: its seconds in each round, and their ratios to plain fine-tuning."""
    train("none", task, steps)  # warm up: files, caches, kernels
    seconds: dict[str, list[float]] = {name: [] for name in names}
    for name in tqdm(names * rounds, desc=task, unit="training"):
        seconds[name].append(train(name, task, steps).seconds)
    rows: list[dict[str, Any]] = []
    for name in names:
        options = options_to_store(*FORMS.get(name, (name, {})))
        ratios = [mine / plain for mine, plain in zip(seconds[name], seconds["none"], strict=True)]
        row = {
            "defense": name,
            "options": options,
            "task": task,
            "steps": steps,
            "seconds": seconds[name],
            "ratios": ratios,
        }
        rows.append(row | {"ratio": median(ratios)})
    return rows


def weighed(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Add to each row the peak memory, and its ratio to plain fine-tuning on the same task."""
    peaks = [peak_mib(row["defense"], row["task"], row["steps"]) for row in tqdm(rows, desc="memory", unit="training")]
    plain = {row["task"]: peak for row, peak in zip(rows, peaks, strict=True) if row["defense"] == "none"}
    return [
        row | {"peak_mib": peak, "peak_ratio": peak / plain[row["task"]]} for row, peak in zip(rows, peaks, strict=True)
    ]


def in_words(row: dict[str, Any]) -> str:
    """Return a row as a line for the terminal."""
    step = 1000 * median(row["seconds"]) / row["steps"]
    ratio = f"{row['ratio']:5.2f} x ({min(row['ratios']):.2f} to {max(row['ratios']):.2f})"
    memory = f"  {row['peak_mib']:6.0f} MiB {row['peak_ratio']:5.2f} x" if "peak_mib" in row else ""
    return f"{row['task']:8} {row['defense']:12} {step:7.1f} ms a step  {ratio}{memory}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--max-steps", "--steps", type=int, default=60)
    parser.add_argument("--tasks", default="caption,vqa")
    parser.add_argument(
        "--only", action="append", default=[], metavar="ROW", help="this defence alone; may be given several times"
    )
    parser.add_argument("--out", type=Path, default=FOLDER / "cost.json")
    parser.add_argument("--only-memory", nargs=2, metavar=("DEFENCE", "TASK"), help="one training; prints its peak")
    given = parser.parse_args()
    if given.only_memory:
        name, task = given.only_memory
        print(train(name, task, given.max_steps).mib)
        return
    for name in given.only:
        check_choice("defence", name, [*DEFENSES, *FORMS])
    ready(given.out)
    names = list(
        dict.fromkeys(["none", *(given.only or [*DEFENSES, *FORMS])])
    )  # plain fine-tuning is always measured along
    rows = weighed(
        [row for task in given.tasks.split(",") for row in timed(names, task, given.rounds, given.max_steps)]
    )
    if given.only:
        rows = [row for row in rows if row["defense"] in given.only]
    save(given.out, command(), rows, by="defense", keep=bool(given.only))
    print("\n".join(in_words(row) for row in rows))


if __name__ == "__main__":
    run_command(main)
