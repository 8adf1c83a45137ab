"""Writes the files of this folder: what pcvr 0.1.0 left on disk before its modules and options were moved and renamed.

It ran once, on the commit that `README.md` names, as ``python -m tests.saved.make``. It need not run on later code: a
file written anew would no longer show that an old one opens. `test_saved.py` opens them.
"""

# It runs with the code of the commit that README.md names.
# mypy: ignore-errors

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import torch
from pcvr.study.grid import run_grid
from pcvr.train_record import guard_of, training_record

import pcvr
from pcvr.attacks.save import save_poisoned
from tests.saved import runs
from tests.saved.runs import HERE

OPTIONS: dict[str, dict[str, Any]] = json.loads((HERE / "options.json").read_text(encoding="utf-8"))
"""Every option of each defence, none at its default (of `pcvr_paper`, which has those of `pcvr`, some)."""


def adapters(vlm: pcvr.VisionLanguageModel) -> dict[str, Any]:
    """An adapter with its record for each defence, the guard of those that have one, and what each model says."""
    config = pcvr.TrainConfig(
        max_steps=4,
        batch_size=8,
        learning_rate=2e-2,
        warmup_ratio=0.1,
        lora_r=1,
        lora_alpha=8,
        seed=7,
        gradient_accumulation_steps=2,
        precision="fp32",
    )
    found: dict[str, Any] = {"base says": runs.said(vlm)}
    for name, options in OPTIONS.items():
        rule = pcvr.get_defense(name, **options)
        clean = runs.scenes(2, split="validation") if rule.needs_clean or name == "crow" else None
        result = pcvr.finetune(vlm, runs.poisoned(16, 0.25), rule, config, clean=clean, progress=False)
        folder = HERE / "adapters" / name
        result.save(folder, training_record(result, "tests.saved.make"))
        opened = pcvr.load(runs.MODEL, adapter=folder, device="cpu")
        found[name] = {"says": runs.said(opened)}
        guard, state = guard_of(folder)
        if guard is not None:
            assert state is not None
            record = pcvr.evaluate(opened, runs.scenes(6, split="test"), "blended", defense=guard, state=state)
            found[name] |= {"threshold": repr(state[name].threshold), "answers": record.answers}
    return found


def checkpoints(vlm: pcvr.VisionLanguageModel) -> dict[str, Any]:
    """Each training of `runs.INTERRUPTED`, cut off; returned is what comes out where it is not."""
    found = {}
    for name, (_, _, last) in runs.INTERRUPTED.items():
        folder = HERE / "checkpoints" / name
        try:
            runs.interrupted(name, vlm, folder, [runs.StopAfter(last)])
        except KeyboardInterrupt:
            found[name] = runs.figures(runs.interrupted(name, vlm, None))
        for lock in folder.glob(".*"):
            lock.unlink()
    return found


def data(vlm: pcvr.VisionLanguageModel) -> dict[str, Any]:
    """Poisoned folders in both forms, one of two attackers, and one that was cut off."""
    badnets = pcvr.get_attack("badnets", place="top_left", margin=2, strength=0.75, pattern="checkerboard")
    blended = pcvr.get_attack("blended", preset="compat", pattern="noise", seed=5)
    keys = pcvr.get_attack("dual_key", task="vqa", text="Look:", cover=0.5)
    first = pcvr.poison(runs.scenes(3), badnets, 0.34, 1, model=vlm)
    asked = pcvr.poison(runs.scenes(6, "vqa"), pcvr.get_attack("badnets", task="vqa"), 0.17, 2)
    made: dict[str, tuple[Any, dict[str, Any]]] = {
        "badnets": (first, {"truth": True}),
        "blended": (pcvr.poison(runs.scenes(3), blended, 0.67, 3), {"form": "datasets"}),
        "dual_key": (pcvr.poison(asked, keys, 0.34, 4), {}),
    }
    found = {}
    for name, (poisoned, how) in made.items():
        save_poisoned(poisoned, HERE / "data" / name, progress=False, **how)
        facts = {"attack": poisoned.attack.describe(), "poisoned": list(poisoned.poisoned)}
        found[name] = facts | {"fingerprint": poisoned.fingerprint(), "sha256": poisoned.manifest.sha256}
    code = "from tests.saved import make; make.half(make.Path(make.HERE / 'data' / 'half'))"
    subprocess.run([sys.executable, "-c", code], check=False)
    for lock in (HERE / "data").glob(".*.lock"):
        lock.unlink()
    return found


def half(folder: Path) -> None:
    """Write three poisoned pictures to `folder`, and die before the third."""
    poisoned = pcvr.poison(runs.scenes(3), "badnets", 0.34, 1)
    read = type(poisoned).__getitem__
    type(poisoned).__getitem__ = lambda self, i: sys.exit(3) if i == 2 else read(self, i)  # type: ignore[method-assign]
    save_poisoned(poisoned, folder, progress=False)


def evaluations(vlm: pcvr.VisionLanguageModel) -> dict[str, Any]:
    """A record from Python, one from the command line, and the results of a sweep."""
    record = pcvr.evaluate(vlm, runs.scenes(6, "vqa", "test"), pcvr.get_attack("dual_key", task="vqa"))
    text = json.dumps(record.to_dict(answers=True), indent=1)
    (HERE / "record.json").write_text(text + "\n", encoding="utf-8")
    words = ["evaluate", "tests/saved/adapters/strip", "--n", "6", "--device", "cpu", "--attack", "blended"]
    out = HERE / "evaluated.json"
    subprocess.run([sys.executable, "-m", "pcvr", *words, "--out", str(out)], check=True, stdout=subprocess.DEVNULL)
    found = run_grid(runs.PLAN, HERE / "sweep", progress=False)
    return {"asr": record.asr, "interval": list(record.asr_interval), "right": record.clean_right, "sweep": found}


if __name__ == "__main__":
    torch.set_num_threads(1)
    for old in ("adapters", "checkpoints", "data", "sweep"):
        shutil.rmtree(HERE / old, ignore_errors=True)
    (HERE / "evaluated.json").unlink(missing_ok=True)
    vlm = runs.model()
    told: dict[str, Any] = {"where": runs.where()}
    for part in (adapters, checkpoints, data, evaluations):
        told[part.__name__] = part(vlm)
    (HERE / "expected.json").write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")
    short = {"where": runs.where()} | {name: runs.short_run(name, vlm) for name in runs.SHORT}
    (HERE / "short_run.json").write_text(json.dumps(short, indent=1) + "\n", encoding="utf-8")
