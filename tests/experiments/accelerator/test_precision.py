"""The gate in two precisions: which samples are flagged, and how the difference is said."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from pcvr import get_attack, get_defense, load
from pcvr.experiments import Experiment
from pcvr.experiments.accelerator import precision
from pcvr.experiments.accelerator.precision import DTYPES, compare_precisions, precision_lines, precisions_on
from pcvr.experiments.run import Materials
from tests.tiny import Marked, Numbers

CPU = torch.device("cpu")


def test_a_cpu_compares_two_and_cuda_what_it_has(monkeypatch: pytest.MonkeyPatch) -> None:
    assert precisions_on(CPU) == ("fp32", "bf16")
    for native, expected in ((True, tuple(DTYPES)), (False, ("fp32", "fp32 again", "fp16"))):
        monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation, native=native: native)
        assert precisions_on(torch.device("cuda")) == expected


def test_one_training_in_two_precisions(monkeypatch: pytest.MonkeyPatch, tiny_folder: Path) -> None:
    data = Marked(160)
    plan = [Experiment("gate", "pcvr", model=str(tiny_folder), max_steps=8, learning_rate=1e-2)]
    rule, attack = get_defense("pcvr"), get_attack("badnets")
    given = Materials(load(tiny_folder), data, Numbers(1), attack, rule, poisoned=range(0, 160, 8))
    monkeypatch.setattr(precision, "materials_of", lambda _: given)
    rows = list(compare_precisions(plan, CPU))
    assert [row["row"] for row in rows] == ["gate: fp32, seed 0", "gate: bf16, seed 0"]
    assert rows[0]["agreement"] == rows[0]["overlap"] == 1
    for row in rows:
        assert row["gate"]["verdict"] == "trigger" and row["gate"]["recall"] >= 0.5
        assert row["gate"]["flagged"] == len(row["flagged"]) and row["config"]["max_steps"] == 8
    assert rows[1]["agreement"] >= 0.8


def test_agreement_and_overlap_by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    told = iter([[0, 1, 2], [1, 2, 3, 4], []])

    class Result:
        seconds = 1.0

        def __init__(self, flagged: Sequence[int]) -> None:
            known = np.zeros(8, dtype=bool)
            known[list(flagged)] = True
            self.run: Any = type("Run", (), {"state": {"stream": type("Gate", (), {"flagged": known})}})

    given: Any = Materials(*[None] * 5)  # type: ignore[arg-type]
    object.__setattr__(given, "train", range(10))
    monkeypatch.setattr(precision, "materials_of", lambda _: given)
    monkeypatch.setattr(precision, "load", lambda *_, **__: None)
    monkeypatch.setattr(precision, "train", lambda *_: Result(next(told)))
    quality = {"verdict": "trigger", "false alarms": 0, "flagged": 3}
    monkeypatch.setattr(precision, "gate_report", lambda *_: [quality])
    rows = list(compare_precisions([Experiment("gate", "pcvr")], CPU, ("fp32", "bf16", "fp16")))
    assert [(row["agreement"], row["overlap"]) for row in rows] == [(1.0, 1.0), (0.7, 0.4), (0.7, 0.0)]
    assert rows[1]["flagged"] == [1, 2, 3, 4], "the last two samples were never seen"
    assert "as fp32 on  70.00 % of the samples, overlap 0.400" in precision_lines(rows)[1]
