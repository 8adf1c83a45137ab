"""Pretended runs for tests of studies: what `run_experiment` returns, without the training."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from pcvr.experiments import Experiment
from pcvr.experiments.outcomes import pack
from pcvr.experiments.study.plan import Plan, plan_of

TESTS = 40


def plan(labels: str = "none PCVR", seeds: int = 3, attacks: str = "badnets sig", **options: Any) -> Plan:
    """Defences by label, each against some attacks with some seeds."""
    defenses = {"PCVR": "pcvr"}
    return plan_of(
        Experiment(label, defenses.get(label, "none"), attack=attack, seed=seed, **{"tests": TESTS, **options})
        for label in labels.split()
        for attack in attacks.split()
        for seed in range(seeds)
    )


def pretended(cell: Experiment) -> dict[str, Any]:
    """A result that depends on the cell alone: every run without a defence hits, PCVR's seldom."""
    random = np.random.default_rng(int(cell.key, 16))
    bits = {
        "aimed": np.ones(cell.tests, dtype=bool),
        "hit": random.random(cell.tests) < (0.05 if cell.defense == "pcvr" else 1.0),
        "clean_hit": np.zeros(cell.tests, dtype=bool),
        "right": random.random(cell.tests) < 0.9,
        "triggered_right": random.random(cell.tests) < 0.8,
    }
    return result(cell, bits)


def result(cell: Experiment, bits: Mapping[str, np.ndarray], seconds: float = 1.0) -> dict[str, Any]:
    """What `run_experiment` returns for such outcomes."""
    rates = [float(bits[name].mean()) for name in ("right", "triggered_right")]
    scores = [{"bleu4": 50.0, "cider": 400.0, "attributes": rate} for rate in rates]
    record = {
        "task": cell.task,
        "n": cell.tests,
        "aimed": int(bits["aimed"].sum()),
        "hits": int((bits["hit"] & bits["aimed"]).sum()),
        "clean_hits": int((bits["clean_hit"] & bits["aimed"]).sum()),
        "clean": scores[0],
        "triggered": scores[1],
        "seconds": 0.5,
    }
    return {
        "experiment": cell.to_dict(),
        "key": cell.key,
        "record": record,
        "outcomes": {name: pack(each) for name, each in bits.items()},
        "intervals": {"cider": [380.0, 420.0]},
        "seconds": seconds,
        "gate": [{"step": 5, "flagged": 3, "false alarms": 1, "recall": 0.9}],
    }


def failing(cell: Experiment) -> dict[str, Any]:
    """Seed 1 fails."""
    if cell.seed == 1:
        raise RuntimeError("no memory\nfor this")
    return pretended(cell)


def dying(cell: Experiment) -> dict[str, Any]:
    """Seed 1 kills its process."""
    if cell.seed == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(0.05)
    return pretended(cell)


def slow(cell: Experiment) -> dict[str, Any]:
    """A cell that never ends; it leaves its process number in a file."""
    Path(os.environ["PCVR_TEST_PIDS"], str(os.getpid())).touch()
    time.sleep(600)
    return pretended(cell)


def said_threads(cell: Experiment) -> dict[str, Any]:
    """A result whose seconds are the number of threads that a library of this process would use."""
    return pretended(cell) | {"seconds": float(os.environ["OMP_NUM_THREADS"])}


def of_another_cell(cell: Experiment) -> dict[str, Any]:
    """A result with a wrong key."""
    return pretended(cell) | {"key": "0123456789ab"}
