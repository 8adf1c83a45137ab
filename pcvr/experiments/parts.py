"""What each part of PCVR is worth: the defence without it, early and late."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any

from pcvr.experiments.experiment import Experiment
from pcvr.tasks import TASKS

PARTS: Mapping[str, Mapping[str, Any]] = MappingProxyType(
    {
        "all parts": {},
        "no views (likelihood only)": {"propose": "likelihood", "apart_weight": 0.0, "feature_weight": 0.0},
        "no likelihood (views only)": {"propose": "views"},
        "no witness": {"witness": False},
        "no pull-apart": {"apart_weight": 0.0},
        "no features": {"feature_weight": 0.0},
        "no entropy constraint": {"entropy_weight": 0.0},
        "no anchor": {"anchor_weight": 0.0},
        "views pulled together": {"direction": "together"},
        "nothing pulled back": {"pull_back": False},
        "nothing shown again": {"replay": 0},
        "views of pixels": {"view": {"level": "pixels"}},
        "divergence: KL": {"divergence": "kl"},
        "divergence: reverse KL": {"divergence": "reverse_kl"},
        "divergence: total variation": {"divergence": "tv"},
    }
)
"""Options of PCVR by what is left out or exchanged."""

MOMENTS: Mapping[str, float] = MappingProxyType({"early": 0.0, "late": 0.5})
"""Fraction of the training that is plain before the gate looks. Half-way the backdoor is learned: its labels are as
expected as others."""

PLAUSIBLE: Mapping[str, str] = MappingProxyType({"caption": "a picture of a red car", "vqa": "yes"})
"""Task to a target that is true of some images: no less expected than other labels, before training and after."""
PROPOSERS = ("all parts", "no views (likelihood only)", "no likelihood (views only)")
"""Parts that are measured on plausible targets too, from the first step on: what finds them?"""


def part_experiments(seeds: int = 3, max_steps: int = Experiment("").max_steps) -> Iterator[Experiment]:
    """Yield each part's experiments: BadNets at 5 %, both tasks; early, late, and with a plausible target.

    Args:
        seeds: of the whole pipeline.
        max_steps: optimiser steps.
    """
    for seed in range(seeds):
        for moment, fraction in MOMENTS.items():
            for part, options in PARTS.items():
                late = {"late_start": round(fraction * max_steps)} if fraction else {}
                for task in TASKS:
                    label = f"{part}, {moment}"
                    yield Experiment(label, "pcvr", {**options, **late}, task=task, seed=seed, max_steps=max_steps)
        for part in PROPOSERS:
            for task, target in PLAUSIBLE.items():
                label, aims = f"{part}, early, plausible target", {"target": target}
                yield Experiment(
                    label, "pcvr", PARTS[part], task=task, seed=seed, max_steps=max_steps, attack_options=aims
                )
