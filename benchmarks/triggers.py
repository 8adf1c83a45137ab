"""Measure the triggers in images a second, beside the same formula written plainly, one image at a time.

    python -m benchmarks.triggers

Both are measured in one run, in turns, on the same images; the best round counts.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import numpy as np

from benchmarks.plain_triggers import FORMS, plain
from pcvr.attacks import ATTACKS, ImageTrigger, get_attack
from pcvr.utils.terminal import run_command


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pictures", type=int, default=512)
    parser.add_argument("--side", type=int, default=224, help="of an image, in pixels")
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    shape = (arguments.pictures, arguments.side, arguments.side, 3)
    batch = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    print(f"{arguments.pictures} pictures of {arguments.side} x {arguments.side} px; pictures a second, best of rounds")
    print(f"{'attack':15}{'here':>10}{'plain':>10}{'ratio':>8}")
    for name in ATTACKS:
        trigger = get_attack(name).trigger
        if isinstance(trigger, ImageTrigger) and type(trigger).__name__ in FORMS:
            here, slow = measure(trigger, batch, arguments.rounds)
            print(f"{name:15}{here:10.0f}{slow:10.0f}{here / slow:7.1f}x", flush=True)


def measure(trigger: ImageTrigger, batch: np.ndarray, rounds: int) -> tuple[float, float]:
    """Return images a second: of the trigger, and of its plain form in a loop."""
    apply = plain(trigger)

    def loop(pictures: np.ndarray) -> np.ndarray:
        return np.stack([apply(picture) for picture in pictures])

    ways: tuple[Callable[[np.ndarray], np.ndarray], ...] = (trigger, loop)
    for way in ways:
        way(batch[:2])  # first calls import and allocate
    best = [0.0, 0.0]
    for _ in range(rounds):
        for k, way in enumerate(ways):
            began = time.perf_counter()
            way(batch)
            best[k] = max(best[k], len(batch) / (time.perf_counter() - began))
    return best[0], best[1]


if __name__ == "__main__":
    run_command(main)
