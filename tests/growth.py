"""Peak memory of what goes through a data set, at one size and at ten times that: run as a program of its own.

``python -m tests.growth MODEL FOLDER`` prints one JSON object: name to the growth of the peak in MiB. Linux lets a
process reset its peak, so one process measures everything.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np

import pcvr
from pcvr import Sample, TrainConfig, finetune
from pcvr.attacks.save import save_poisoned
from pcvr.defenses.baselines.strip import Strip
from pcvr.evaluation.evaluate import evaluate
from pcvr.evaluation.trigger_visibility import seen_by_tower
from pcvr.training.backdoor_watch import BackdoorWatch
from tests.tiny import Numbers

FEW, MANY = 6, 60
HEIGHT, WIDTH = 1024, 1024


class Large(Numbers):
    """Pictures of 3 MiB, each made when it is asked for."""

    ramp = (np.arange(HEIGHT * WIDTH * 3, dtype=np.uint32) // 997).astype(np.uint8).reshape(HEIGHT, WIDTH, 3)

    def __getitem__(self, index: int, /) -> Sample:
        sample = super().__getitem__(index)
        return replace(sample, image=self.ramp + np.uint8(index))


def peak() -> int:
    """The largest resident size since the last call, in KiB."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    found = next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    return found


def tasks(model: str, folder: Path) -> dict[str, Callable[[int], object]]:
    """What is measured, each for a number of samples."""
    vlm, attack = pcvr.load(model), pcvr.get_attack("badnets", size=60)
    config = TrainConfig(max_steps=2, batch_size=4)
    strip = Strip(views=1)

    def save(n: int, form: str) -> object:
        return save_poisoned(pcvr.poison(Large(n), attack, 0.5), folder / f"{form}-{n}", form=form, progress=False)

    def guarded(n: int) -> object:
        return evaluate(vlm, Large(n), defense=strip, state=strip.calibrate(vlm, Large(n)), max_new_tokens=2)

    return {
        "evaluate": lambda n: evaluate(vlm, Large(n), attack, max_new_tokens=2),
        "evaluate, guarded": guarded,
        "poison and save": lambda n: save(n, "llava"),
        "poison and save a table": lambda n: save(n, "datasets"),
        "finetune": lambda n: finetune(vlm, Large(n), "none", config, progress=False),
        "finetune, pcvr": lambda n: finetune(vlm, Large(n), "pcvr", config, progress=False),
        "scan": lambda n: finetune(vlm, Large(n), pcvr.PCVR(gate="two_stage", scan_at=(0.5,)), config, progress=False),
        "watch": lambda n: BackdoorWatch(vlm, Large(n), attack, max_new_tokens=2).on_train_begin(
            None, None, None, model=vlm.model
        ),
        "seen by the tower": lambda n: seen_by_tower(vlm, Large(n), attack),
    }


def main(model: str, folder: str) -> None:
    """Measure and print."""
    growth = {}
    for name, act in tasks(model, Path(folder)).items():
        act(2)  # what is imported and kept for good
        peak()
        act(FEW)
        few = peak()
        act(MANY)
        growth[name] = (peak() - few) / 1024
    print(json.dumps(growth))


if __name__ == "__main__":
    main(*sys.argv[1:])
