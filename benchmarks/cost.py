"""Measure what each defence costs against plain fine-tuning in the same call: wall time, peak memory, and answers.

    python benchmarks/cost.py                # five rounds, all defences, both tasks (some twenty minutes)
    python benchmarks/cost.py --only pcvr    # this defence again, or a new one; other rows stay
    python benchmarks/cost.py --only-memory pcvr caption  # one training of the memory measurement

Rounds are interleaved: each trains once with every defence, so that a slower machine affects all alike. The result is
the median of the ratios to plain fine-tuning of the same round. As in the workbook, a training has five samples for
each step: a defence that scores all the data pays for each sample.

The clock runs from the first work of the defence until `finetune` returns: all stages, and work before, between and
after them, such as a score, a filter, a calibration or a repair. Then test images are answered, through the guard if
there is one. BYE trains a second time only where its filter finds something, which a training as short as this
does not show: "bye, retrained" is BYE that always trains again.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import pcvr  # before torch: it sets how waiting threads wait

# isort: split
from tqdm.auto import tqdm

from pcvr.defenses import DEFENSES, StagePlan, get_defense
from pcvr.defenses.base import Fit
from pcvr.defenses.baselines.bye import BYE
from pcvr.defenses.context import TrainingContext
from pcvr.defenses.stage_plan import FULL_STAGE
from pcvr.defenses.stored_options import options_to_store
from pcvr.experiments.accelerator.device import PeakMemory
from pcvr.experiments.benchmark import command
from pcvr.experiments.results import FOLDER, ready, save
from pcvr.tasks import get_task
from pcvr.training.callback_base import StageCallback
from pcvr.utils.checks import check_choice
from pcvr.utils.terminal import run_command

SAMPLES_A_STEP = 5
TRUSTED = 50
ANSWERS = 64
"""Test images that are answered, half of them triggered, so that guards have something to act on."""
RATE = 0.05
RETRAINED = "bye, retrained"
FORMS: dict[str, tuple[str, dict[str, Any]]] = {
    "pcvr, two_stage": ("pcvr", {"gate": "two_stage"}),
    "crow, clean": ("crow", {"on": "clean"}),
    RETRAINED: ("bye", {}),
    "strip, paper": ("strip", {"blend": "add", "views": 100}),
}
"""Rows that are not a defence with its defaults: name and options of the defence."""
TRUSTING = ("crow, clean",)
"""Rows that need trusted samples although the defence does not always."""


@dataclass(frozen=True)
class Retrained(BYE):
    """BYE with the price of a hit: it trains again in any case, without `RATE` of the samples, whatever it found."""

    def train(self, run: TrainingContext, fit: Fit) -> None:
        """Fine-tune, filter, and train again."""
        plans: list[StagePlan] = []

        def first_only(plan: StagePlan = FULL_STAGE, /) -> None:
            plans.append(plan)
            if len(plans) == 1:
                fit(plan)

        super().train(run, first_only)
        fit(StagePlan("retrain", rows=range(round((1 - RATE) * len(run.data))), fresh=True))


class Gauge(StageCallback):
    """Measure seconds from the first work of the defence to `read`, and the peak memory, in MiB, see `PeakMemory`."""

    def on_defense(self, run: TrainingContext) -> None:
        self.peak = PeakMemory(run.vlm.device)
        self.began = time.perf_counter()

    def read(self) -> None:
        """Stop the clock and read the memory."""
        self.seconds = time.perf_counter() - self.began
        self.mib = self.peak.mib()


def train(name: str, task: str, steps: int, answers: int = 0) -> Gauge:
    """Train once, with a defence or one of `FORMS`, and time the model's `answers`, clean and triggered in turn."""
    attack = pcvr.get_attack("badnets", task=task)
    data = pcvr.poison(pcvr.open_data("scenes", n=SAMPLES_A_STEP * steps, task=task), attack, RATE)
    defense, options = FORMS.get(name, (name, {}))
    rule = Retrained() if name == RETRAINED else get_defense(defense, **options)
    trusted = None
    if rule.needs_clean or name in TRUSTING:
        trusted = pcvr.open_data("scenes", split="validation", n=TRUSTED, task=task)
    gauge = Gauge()
    config = pcvr.TrainConfig(max_steps=steps)
    model = pcvr.load("tiny-llava")
    result = pcvr.finetune(model, data, rule, config, clean=trusted, callbacks=[gauge], progress=False)
    gauge.read()
    if answers:
        tests = pcvr.open_data("scenes", split="test", n=answers, task=task)
        asked = [attack.triggered(tests[i]) if i % 2 else tests[i] for i in range(answers)]
        images, prompts = [each.image for each in asked], [each.prompt for each in asked]
        began = time.perf_counter()
        pcvr.generate(result.model, images, prompts, get_task(task).max_new_tokens)
        gauge.answer_ms = 1000 * (time.perf_counter() - began) / answers
    return gauge


def peak_mib(name: str, task: str, steps: int) -> float:
    """Return the peak memory of a training in its own process, in MiB."""
    command = [sys.executable, __file__, "--only-memory", name, task, "--max-steps", str(steps)]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()[-1])


def timed(names: list[str], task: str, rounds: int, steps: int) -> list[dict[str, Any]]:
    """Return a row for each defence: seconds of training and ms an answer in each round, and ratios to plain ones."""
    train("none", task, steps, ANSWERS)  # warm up: files, caches, kernels
    gauges: dict[str, list[Gauge]] = {name: [] for name in names}
    for name in tqdm(names * rounds, desc=task, unit="training"):
        gauges[name].append(train(name, task, steps, ANSWERS))
    rows: list[dict[str, Any]] = []
    for name in names:
        pairs = list(zip(gauges[name], gauges["none"], strict=True))
        ratios = [mine.seconds / plain.seconds for mine, plain in pairs]
        rows.append(
            {
                "defense": name,
                "options": options_to_store(*FORMS.get(name, (name, {}))),
                "task": task,
                "steps": steps,
                "seconds": [gauge.seconds for gauge in gauges[name]],
                "ratios": ratios,
                "ratio": median(ratios),
                "answer_ms": [gauge.answer_ms for gauge in gauges[name]],
                "answer_ratio": median(mine.answer_ms / plain.answer_ms for mine, plain in pairs),
            }
        )
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
    answer = ""
    if "answer_ms" in row:
        answer = f"  {median(row['answer_ms']):6.1f} ms an answer {row['answer_ratio']:5.2f} x"
    return f"{row['task']:8} {row['defense']:15} {step:7.1f} ms a step  {ratio}{memory}{answer}"


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
