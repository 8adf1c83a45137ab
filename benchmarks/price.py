"""Measure what an epoch with PCVR takes beside a plain one, compare it with the formula, and let the data grow.

    python benchmarks/price.py                                 # 1,000, 10,000 and 100,000 samples (hours on two cores)
    python benchmarks/price.py --sizes 1000,10000 --rounds 3   # as far as there is time
    python benchmarks/price.py --only pcvr 1000 50             # one epoch; prints what it took

Pictures are JPEG files in memory, decoded on each access. Each epoch has its own process. At the smallest size, plain
and defended epochs alternate, and the median of the ratios is compared with `pcvr.experiments.price`. The growth is
that of PCVR's epochs: seconds a sample and peak memory at each size. Seconds are of the clock and of the processor; on
a busy machine the processor's are more reliable, and the ratios are theirs. Print all and write build/price.json.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

import pcvr  # before torch: it sets how waiting threads wait

# isort: split
import numpy as np
from PIL import Image as PilImage

from pcvr import Sample
from pcvr.data.pictures import open_picture, rgb_array
from pcvr.experiments.accelerator.device import PeakMemory
from pcvr.experiments.price import PICTURE, Run, gate_bytes, prices
from pcvr.models.budget import Costs
from pcvr.models.encode import encode_samples
from pcvr.models.load import outline
from pcvr.models.work import work_of
from pcvr.utils.files import write_json
from pcvr.utils.terminal import run_command
from pcvr.utils.versions import versions

MODEL = "tiny-llava"
COLOURS = ("red", "blue", "green", "yellow")
BATCH = 32
PROMPT, ANSWER = "describe the image.", "there is a {} ball on the table ."


class Pictures:
    """`n` pictures of one colour each, as JPEG files in memory, with a caption that names it."""

    task, name, conversational = "caption", "pictures", False

    def __init__(self, n: int, size: tuple[int, int] = PICTURE) -> None:
        self.n, self.size = n, size
        self._files = [self._file(colour) for colour in COLOURS]

    def _file(self, colour: str) -> bytes:
        coded = io.BytesIO()
        noise = np.random.default_rng(0).integers(0, 60, (self.size[1] // 16, self.size[0] // 16, 3), dtype=np.uint8)
        shade = PilImage.new("RGB", (noise.shape[1], noise.shape[0]), colour)
        mixed = PilImage.fromarray(np.clip(np.asarray(shade, dtype=np.int32) + noise, 0, 255).astype(np.uint8))
        mixed.resize(self.size).save(coded, "JPEG", quality=90)
        return coded.getvalue()

    def __len__(self) -> int:
        return self.n

    def __getitem__(self, index: int, /) -> Sample:
        if not 0 <= index < self.n:
            raise IndexError(index)
        colour = index % len(COLOURS)
        image = rgb_array(open_picture(self._files[colour]))
        return Sample(str(index), image, PROMPT, ANSWER.format(COLOURS[colour]))

    def fingerprint(self) -> str:
        return f"pictures-{self.n}-{self.size}"


@dataclass(frozen=True)
class Taken:
    """What one epoch took: seconds of the clock and of the processor, peak MiB, and MiB of its checkpoints."""

    seconds: float
    processor_seconds: float
    peak_mib: float
    checkpoint_mib: float


def epoch(defense: str, n: int) -> Taken:
    """Train one epoch on `n` pictures, with checkpoints at its end."""
    vlm = pcvr.load(MODEL, device="cpu")
    pcvr.finetune(vlm, Pictures(BATCH), defense, pcvr.TrainConfig(max_steps=1, batch_size=8), progress=False)  # warm up
    config = pcvr.TrainConfig(num_train_epochs=1, batch_size=BATCH)
    with TemporaryDirectory() as scratch:
        peak = PeakMemory(vlm.device)
        began, processor = time.perf_counter(), time.process_time()
        store: dict[str, Any] = {"checkpoints": Path(scratch) / "kept", "save_steps": max(1, n // BATCH // 2)}
        pcvr.finetune(vlm, Pictures(n), defense, config, progress=False, **store)
        seconds, processor = time.perf_counter() - began, time.process_time() - processor
        size = sum(file.stat().st_size for file in Path(scratch).rglob("*") if file.is_file())
        return Taken(seconds, processor, peak.mib(), size / 2**20)


def measured(defense: str, n: int) -> Taken:
    """Return what an epoch took in a process of its own."""
    command = [sys.executable, __file__, "--only", defense, str(n)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return Taken(**json.loads(done.stdout.splitlines()[-1]))


def predicted(n: int) -> dict[str, float]:
    """Return the formula's ratio of computing for an epoch of `n` samples of `Pictures`, and its additional MiB."""
    model = outline(MODEL, "cpu")
    vlm = pcvr.load(MODEL, device="cpu")
    row = encode_samples(vlm, [Pictures(1)[0]])[0]
    answer = int((row["labels"] >= 0).sum())
    seen = int((row["input_ids"] == vlm.base.config.image_token_id).sum())
    work = work_of(
        model.config,
        model.family,
        pcvr.TrainConfig().lora_r,
        prompt_tokens=len(row["input_ids"]) - seen,
        answer_tokens=answer,
    )
    run = Run(n, checkpointing=False, tower=False)
    costs = Costs.of_config(model.config, model.dtype)
    plain, defended = prices(work, run, model.needed, costs)
    more = BATCH * costs.view(work.tokens, answer) + gate_bytes(n)
    return {"computing": defended.flops / plain.flops, "memory_mib": more / 2**20}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", default="1000,10000,100000", help="numbers of samples, ascending")
    parser.add_argument("--rounds", type=int, default=5, help="plain and defended epochs at the smallest size")
    parser.add_argument("--only", nargs=2, metavar=("DEFENCE", "N"), help="one epoch; prints what it took")
    given = parser.parse_args()
    if given.only:
        print(json.dumps(asdict(epoch(given.only[0], int(given.only[1])))))
        return
    sizes = [int(size) for size in given.sizes.split(",")]
    pairs = [(measured("none", sizes[0]), measured("pcvr", sizes[0])) for _ in range(given.rounds)]
    ratios = [ours.processor_seconds / plain.processor_seconds for plain, ours in pairs]
    expected = predicted(sizes[0])
    formula = expected["computing"]
    spread = f"({min(ratios):.3f} to {max(ratios):.3f})"
    print(f"{sizes[0]} samples: PCVR / plain {median(ratios):.3f} {spread}, formula {formula:.3f}")
    memory = median(ours.peak_mib / plain.peak_mib for plain, ours in pairs)
    disk = median(ours.checkpoint_mib - plain.checkpoint_mib for plain, ours in pairs)
    foreseen = median((plain.peak_mib + expected["memory_mib"]) / plain.peak_mib for plain, _ in pairs)
    print(f"peak memory of the process: {memory:.3f} x, formula {foreseen:.3f} x (full pools)")
    print(f"checkpoints: {disk:.1f} MiB more, formula at most {2 * gate_bytes(sizes[0]) / 2**20:.1f} MiB")
    growth = {size: measured("pcvr", size) for size in sizes}
    for size, taken in growth.items():
        clock, processor = (1000 * each / size for each in (taken.seconds, taken.processor_seconds))
        times = f"{clock:7.1f} ms a sample, {processor:6.1f} of the processor"
        print(f"{size:8} samples: {times}, peak {taken.peak_mib:6.0f} MiB")
    found: dict[str, Any] = {"ratios": ratios, "formula": formula, "checkpoint_mib": disk}
    found |= {"memory": memory, "memory_formula": foreseen}
    grown = {str(size): asdict(taken) for size, taken in growth.items()}
    about = {"cores": os.cpu_count(), "picture": list(PICTURE), "versions": versions()}
    write_json(Path("build/price.json"), {**found, "growth": grown, **about})


if __name__ == "__main__":
    run_command(main)
