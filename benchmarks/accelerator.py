"""Measure on a GPU: runs of a study an hour, a LoRA step at 7 B shapes, and the gate's verdict in half precision.

    python benchmarks/accelerator.py                          # all parts, on one GPU (planned for under ten minutes)
    python benchmarks/accelerator.py --part step --batch-size 4   # one part again; the rows of the others stay
    python benchmarks/accelerator.py --part study --jobs 1,8  # one and eight runs at a time
    python benchmarks/accelerator.py --shapes tiny            # without a GPU: only shows that the script works
    python benchmarks/accelerator.py --print                  # the table that is there

study: identical short runs of tiny-llava on captions, plain and with PCVR, one and several at a time. The runs of 400
steps that an hour would hold follow from two lengths; the formula is printed.

step: LLaVA-1.5-7B from its config, with random weights in bfloat16 and images of 336 pixels: nothing is downloaded. A
LoRA step plain, with PCVR as in a training loop of one's own, and with a second forward pass of a view of each sample.
Samples a second, share of the peak that a large product of matrices reaches on the same device, and peak memory.

gate: tiny-llava on poisoned data in float32, bfloat16 and float16: which samples the gate flags.

Each part is written as soon as it is measured. Tables of --shapes tiny go to build/, and their rows say so.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pcvr  # noqa: F401  # before torch: it sets how waiting threads wait

# isort: split
import torch

from pcvr.experiments import Experiment
from pcvr.experiments.accelerator.device import check_cuda
from pcvr.experiments.accelerator.precision import compare_precisions, precision_lines
from pcvr.experiments.accelerator.shapes import FULL, TINY, Shapes
from pcvr.experiments.accelerator.step import Counts, measure_steps, step_lines
from pcvr.experiments.accelerator.throughput import measure_throughput, throughput_lines
from pcvr.experiments.benchmark import command
from pcvr.experiments.results import FOLDER, Table, read, ready, save
from pcvr.models.device import pick_device
from pcvr.utils.checks import check_whole
from pcvr.utils.terminal import run_command

Lines = Callable[[Sequence[dict[str, Any]]], list[str]]
PARTS: dict[str, Lines] = {"study": throughput_lines, "step": step_lines, "gate": precision_lines}
"""Parts in their order, each with what prints its rows."""


@dataclass(frozen=True)
class Sizes:
    """How much of everything is measured: `run` are the sizes of a run of the study, `gate` those of a training."""

    shapes: Shapes
    counts: Counts
    run: Experiment
    lengths: tuple[int, int]
    gate: Experiment
    seeds: int
    place: Path


SIZES = {
    "full": Sizes(
        shapes=FULL,
        counts=Counts(),
        run=Experiment("plain"),
        lengths=(40, 80),
        gate=Experiment("gate", "pcvr", tests=1, max_steps=200),
        seeds=2,
        place=FOLDER / "accelerator.json",
    ),
    "tiny": Sizes(
        shapes=TINY,
        counts=Counts(steps=2, later=2),
        run=Experiment("plain", samples=16, tests=2, batch_size=4),
        lengths=(1, 2),
        gate=Experiment("gate", "pcvr", samples=24, tests=1, max_steps=2, batch_size=12),
        seeds=1,
        place=Path("build/accelerator.json"),
    ),
}


def measured(part: str, sizes: Sizes, jobs: Sequence[int], device: torch.device) -> Iterable[dict[str, Any]]:
    """Measure one part and return its rows."""
    if part == "study":
        plan = [sizes.run, replace(sizes.run, label="PCVR", defense="pcvr")]
        return measure_throughput(plan, sizes.lengths, jobs, device)
    if part == "step":
        return measure_steps(sizes.shapes, device, sizes.counts)
    return compare_precisions([replace(sizes.gate, seed=seed) for seed in range(sizes.seeds)], device)


def lines(table: Table) -> list[str]:
    """Return the rows of all parts as lines for the terminal, and how they were made."""
    found = [line for part, of in PARTS.items() for line in of([row for row in table.runs if row["part"] == part])]
    return [*found, table.caption()]


def numbers(text: str) -> list[int]:
    """Return the numbers of a text such as ``1,4``."""
    return [int(each) for each in text.split(",")]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--part", action="append", default=[], choices=PARTS, help="this part; may be given twice")
    parser.add_argument("--shapes", default="full", choices=SIZES, help="full needs a GPU")
    parser.add_argument("--batch-size", type=int, help="samples of a step of the part step")
    parser.add_argument("--jobs", type=numbers, default=[1, 4], metavar="N,N", help="runs at a time of the part study")
    parser.add_argument("--out", type=Path, help="the table; by default where the package looks for it")
    parser.add_argument("--print", action="store_true", help="measure nothing, print the table that is there")
    given = parser.parse_args()
    sizes = SIZES[given.shapes]
    place = given.out or sizes.place
    if given.print:
        print("\n".join(lines(read(place))))
        return
    device = pick_device("auto")
    if given.shapes == "full":
        check_cuda(device)
    for count in given.jobs:
        check_whole("--jobs", count, 1, what="runs at a time")
    if given.batch_size is not None:
        check_whole("--batch-size", given.batch_size, 2, what="samples; a view takes its patches from another one")
        sizes = replace(sizes, shapes=replace(sizes.shapes, batch=given.batch_size))
    ready(place)
    parts = [part for part in PARTS if part in (given.part or PARTS)]
    for part in parts:
        mark = "" if given.shapes == "full" else f"{given.shapes} "
        rows = [row | {"part": part, "row": f"{mark}{row['row']}"} for row in measured(part, sizes, given.jobs, device)]
        print("\n".join(PARTS[part](rows)), flush=True)
        save(place, command(), rows, by="row", keep=bool(given.part) or part != parts[0])
    print(f"written to {place}: {read(place).caption()}")


if __name__ == "__main__":
    run_command(main)
