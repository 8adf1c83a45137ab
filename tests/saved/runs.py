"""The trainings and data behind the files in this folder: `make.py` wrote them once, `test_saved.py` repeats them."""

from __future__ import annotations

import hashlib
import platform
from collections.abc import Sequence
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import TrainerCallback

import pcvr
from pcvr.analysis.premise import Premise, ViewSetting
from pcvr.experiments import Experiment

HERE = Path(__file__).parent
MODEL = "tiny-llava"


def where() -> dict[str, str]:
    """What decides whether two runs can agree to the bit: versions, machine and processor."""
    names = ("torch", "transformers", "peft", "accelerate", "numpy", "scipy", "scikit-learn", "pillow")
    found = {name: version(name) for name in names}
    cpu = Path("/proc/cpuinfo")
    lines = cpu.read_text(encoding="utf-8").split("\n\n")[0].splitlines() if cpu.is_file() else []
    facts = dict([part.strip() for part in line.partition(":")[::2]] for line in lines)
    chip = " ".join(facts.get(name, "") for name in ("model name", "cpu family", "model")).strip()
    capability = torch.backends.cpu.get_cpu_capability()
    return found | {"machine": platform.machine(), "processor": chip or platform.processor(), "capability": capability}


def model() -> pcvr.VisionLanguageModel:
    """The base model of every file here."""
    return pcvr.load(MODEL, device="cpu")


def scenes(n: int, task: str = "caption", split: str = "train") -> Any:
    """The first `n` scenes of a split."""
    return pcvr.open_data("scenes", split=split, n=n, task=task)


def poisoned(n: int, rate: float, task: str = "caption") -> Any:
    """Scenes with BadNets on some of them."""
    return pcvr.poison(scenes(n, task), pcvr.get_attack("badnets", task=task), rate, 0)


def said(vlm: pcvr.VisionLanguageModel, n: int = 4) -> list[str]:
    """The model's captions of some test scenes."""
    samples = [scenes(n, split="test")[i] for i in range(n)]
    return pcvr.generate(vlm, [s.image for s in samples], [s.prompt for s in samples])


def digest(result: Any) -> str:
    """SHA-256 of the trained weights, by name."""
    weights = sorted((n, p) for n, p in result.model.model.named_parameters() if p.requires_grad)
    return hashlib.sha256(b"".join(p.detach().numpy().tobytes() for _, p in weights)).hexdigest()


def figures(result: Any) -> dict[str, Any]:
    """Losses, weights and the gate of a training; floats as `repr`, which keeps every bit."""
    gates = []
    for scan in result.run.state.get("scorings", []):
        flagged = np.flatnonzero(scan["gate"].flagged).tolist()
        gates.append({"step": scan["step"], "flagged": flagged, "scores": [repr(float(s)) for s in scan["scores"]]})
    return {"losses": [repr(e["loss"]) for e in result.history], "weights": digest(result), "gates": gates}


# The reference for "same figures from the same seeds". Nine steps: a run of fewer than ten logs every step.
SHORT: dict[str, tuple[str, str, dict[str, Any]]] = {
    f"{task}/{defense}": (task, defense, options)
    for task in ("caption", "vqa")
    for defense, options in (("none", {}), ("pcvr", {"gate": "two_stage", "score_at": (0.35,)}))
}


def short_run(name: str, vlm: pcvr.VisionLanguageModel) -> dict[str, Any]:
    """One of `SHORT`, with its figures."""
    task, defense, options = SHORT[name]
    rule = pcvr.get_defense(defense, **options)
    config = pcvr.TrainConfig(max_steps=9)
    return figures(pcvr.finetune(vlm, poisoned(100, 0.05, task), rule, config, progress=False))


# Trainings that were interrupted: name to the defence, steps between checkpoints, and the step that was the last.
CONFIG = pcvr.TrainConfig(
    max_steps=9, batch_size=4, learning_rate=1e-2, warmup_ratio=0.1, lora_r=1, lora_alpha=4, seed=3
)
INTERRUPTED: dict[str, tuple[Any, int, int]] = {
    "pcvr": (
        pcvr.PCVR(
            gate="two_stage",
            scan_at=(0.3, 0.7),
            rescan_fraction=0.5,
            view=pcvr.PatchView("swap", 0.8, level="features"),
        ),
        4,
        5,
    ),
    "abl": (pcvr.get_defense("abl", portion=0.1, early=0.34, late=0.25), 2, 6),
    "premise": (
        Premise(
            {2: (ViewSetting(), ViewSetting(pcvr.PatchView("mean", 0.5), views=2)), 6: (ViewSetting(),)}, rows=(0, 3, 7)
        ),
        3,
        4,
    ),
}


class StopAfter(TrainerCallback):
    """Interrupts a training after so many steps, those of all stages counted."""

    def __init__(self, steps: int) -> None:
        self.left = steps

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self.left -= 1
        if not self.left:
            raise KeyboardInterrupt


def interrupted(
    name: str, vlm: pcvr.VisionLanguageModel, folder: Path | None, callbacks: Sequence[TrainerCallback] = ()
) -> Any:
    """One of `INTERRUPTED` with its checkpoints in `folder`."""
    rule, every, _ = INTERRUPTED[name]
    data = poisoned(24, 0.1)
    return pcvr.finetune(
        vlm, data, rule, CONFIG, progress=False, checkpoints=folder, save_steps=every, callbacks=list(callbacks)
    )


# Two results of a sweep over the options of PCVR.
BASE = Experiment(
    "small", samples=16, tests=4, max_steps=3, seed=2, rate=0.25, watch=2, preset="compat", attack_options={"margin": 1}
)
TURNED = {"gate": "two_stage", "view": {"share": 0.6}, "score_at": (0.5,), "apart_weight": 0.0}
PLAN = [replace(BASE, label="undefended"), replace(BASE, defense="pcvr", options=TURNED)]
