"""Measure what a learner waits for, and compare it with the plain way of doing it, in one run.

    python benchmarks/speed.py            # about six minutes on two cores
    python benchmarks/speed.py --repeats 5

Print medians and write build/speed.json. Figures in the documentation come from this script.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pcvr
from pcvr.defenses.context import READ_ON_CPU, TrainingContext
from pcvr.models.encode import EncodedData
from pcvr.models.forward import batches
from pcvr.utils.files import write_json
from pcvr.utils.terminal import run_command
from pcvr.utils.versions import versions

SAMPLES, TESTS, STEPS = 2000, 512, 400


def median_seconds(task: Callable[[], Any], repeats: int) -> float:
    """Return the median wall time of `task` over `repeats` calls."""
    taken = []
    for _ in range(repeats):
        began = time.perf_counter()
        task()
        taken.append(time.perf_counter() - began)
    return statistics.median(taken)


def import_seconds() -> float:
    """Return the median wall time of ``import pcvr`` in a new process, without the start of the interpreter."""
    runs = {"pcvr": "import pcvr", "nothing": "pass"}
    taken = {
        name: median_seconds(lambda code=code: subprocess.run([sys.executable, "-c", code], check=True), 5)  # type: ignore[misc]
        for name, code in runs.items()
    }
    return taken["pcvr"] - taken["nothing"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=3, help="calls of each; the median is printed")
    repeats = parser.parse_args().repeats

    model = pcvr.load("tiny-llava")
    attack = pcvr.get_attack("badnets")
    train = pcvr.poison(pcvr.open_data("scenes", n=SAMPLES), attack, 0.05)
    test = pcvr.open_data("scenes", split="test", n=TESTS)
    pictures = [test[i] for i in range(TESTS)]

    def fine_tune(defense: str) -> Callable[[], Any]:
        return lambda: pcvr.finetune(model, train, defense, pcvr.TrainConfig(max_steps=STEPS), progress=False)

    def read_every_step() -> None:
        """Run the frozen tower on every batch: the plain way."""
        with patch.object(EncodedData, "keep_features", lambda _data: False):
            fine_tune("none")()

    def answer(batch_size: int, count: int) -> Callable[[], Any]:
        images, prompts = [s.image for s in pictures[:count]], [s.prompt for s in pictures[:count]]
        return lambda: pcvr.generate(model, images, prompts, batch_size=batch_size)

    def look(part: int) -> Callable[[], Any]:
        """Score all samples once, as the gate does, `part` samples at a time."""

        def all_samples() -> None:
            with patch("pcvr.defenses.context.READ_ON_CPU", part):
                for rows in batches(SAMPLES, 128):
                    run.forward_no_grad(encoded.batch(rows))

        return all_samples

    encoded = EncodedData(model, train)
    encoded.keep_features()
    run = TrainingContext(model, encoded, STEPS, seed=0)

    found = {
        "import pcvr": import_seconds(),
        f"draw {SAMPLES} scenes": median_seconds(lambda: [train.clean[i] for i in range(SAMPLES)], repeats),
        f"plain fine-tune, {STEPS} steps": median_seconds(fine_tune("none"), repeats),
        "the same, tower run at each step": median_seconds(read_every_step, repeats),
        f"PCVR fine-tune, {STEPS} steps": median_seconds(fine_tune("pcvr"), repeats),
        f"{TESTS} answers, batched": median_seconds(answer(256, TESTS), repeats),
        "32 answers one by one": median_seconds(answer(1, 32), repeats),
        f"look at all samples, {READ_ON_CPU} at a time": median_seconds(look(READ_ON_CPU), repeats),
        "the same, 128 at a time": median_seconds(look(128), repeats),
    }
    plain, defended = (found[f"{k} fine-tune, {STEPS} steps"] for k in ("plain", "PCVR"))
    batched, single = found[f"{TESTS} answers, batched"] / TESTS, found["32 answers one by one"] / 32
    ratios = {
        "PCVR / plain": defended / plain,
        "tower at each step / features kept": found["the same, tower run at each step"] / plain,
        "one by one / batched, per answer": single / batched,
        "look 128 at a time / in parts": found["the same, 128 at a time"]
        / found[f"look at all samples, {READ_ON_CPU} at a time"],
    }
    for name, value in found.items():
        print(f"{name:36}{value:9.2f} s")
    for name, value in ratios.items():
        print(f"{name:36}{value:9.2f} x")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(f"{'peak memory of this process':36}{peak:9.2f} GiB")
    meta = {"cores": os.cpu_count(), "repeats": repeats, "versions": versions(), "peak_gib": peak}
    write_json(Path("build/speed.json"), json.loads(json.dumps({"seconds": found, "ratios": ratios, **meta})))


if __name__ == "__main__":
    run_command(main)
