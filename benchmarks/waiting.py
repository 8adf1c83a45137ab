"""Measure a training by how its threads wait, alone and beside other processes that use the cores.

    python benchmarks/waiting.py                       # three rounds; most of the time goes to the default when busy
    python benchmarks/waiting.py --rounds 1 --max-steps 10

Each training runs in its own process, because OpenMP reads its settings once. Rounds are interleaved, so that a slower
machine affects all policies alike. Ratios are to torch's default of the same round. "alone" assumes that nothing else
runs.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from statistics import median

import torch  # noqa: F401  # before pcvr, which then leaves the policy as it is

import pcvr
from pcvr.utils.terminal import run_command

POLICIES: dict[str, dict[str, str]] = {
    "default": {},
    "passive": {"OMP_WAIT_POLICY": "PASSIVE"},
    "spin 1,000": {"GOMP_SPINCOUNT": "1000"},
    "spin 10,000": {"GOMP_SPINCOUNT": "10000"},
    "one thread": {"OMP_NUM_THREADS": "1"},
}
WAITING = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME", "OMP_NUM_THREADS")


def train(steps: int) -> float:
    """Return the seconds of a plain fine-tuning, without loading and warm-up."""
    model = pcvr.load("tiny-llava")
    data = pcvr.poison(pcvr.open_data("scenes", n=256), pcvr.get_attack("badnets"), 0.05)
    pcvr.finetune(model, data, "none", pcvr.TrainConfig(max_steps=2), progress=False)
    began = time.perf_counter()
    pcvr.finetune(model, data, "none", pcvr.TrainConfig(max_steps=steps), progress=False)
    return time.perf_counter() - began


def in_own_process(policy: dict[str, str], steps: int) -> float:
    """Call `train` in a new process under a policy."""
    environment = {name: value for name, value in os.environ.items() if name not in WAITING} | policy
    command = [sys.executable, __file__, "--only-train", "--max-steps", str(steps)]
    return float(subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout)


@contextmanager
def neighbours(count: int) -> Iterator[None]:
    """Start `count` processes that keep a core busy each, and stop them at the end of the block."""
    with ExitStack() as stack:
        for _ in range(count):
            spinning = stack.enter_context(subprocess.Popen([sys.executable, "-c", "while True: pass"]))
            stack.callback(spinning.kill)
        yield


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--max-steps", "--steps", type=int, default=30)
    parser.add_argument("--only-train", action="store_true", help="one training; prints its seconds")
    given = parser.parse_args()
    if given.only_train:
        print(train(given.max_steps))
        return
    for where, count in (("alone", 0), ("busy", os.cpu_count() or 1)):
        seconds: dict[str, list[float]] = {name: [] for name in POLICIES}
        with neighbours(count):
            for name in [*POLICIES] * given.rounds:
                seconds[name].append(in_own_process(POLICIES[name], given.max_steps))
        for name, taken in seconds.items():
            ratio = median(mine / default for mine, default in zip(taken, seconds["default"], strict=True))
            print(f"{where:6}{name:12}{median(taken):8.2f} s{ratio:7.2f} x", flush=True)


if __name__ == "__main__":
    run_command(main)
