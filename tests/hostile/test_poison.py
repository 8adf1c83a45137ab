"""Hostile arguments of ``poison``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from pcvr.attacks import get_attack, poison
from tests.hostile.catalogue import Case, Works, every
from tests.tiny import Numbers

DATA = Numbers(12)
BADNETS = get_attack("badnets", size=4)
HALF: Any = np.float32(0.5)


@every(
    Case("rate above one", lambda work: poison(DATA, BADNETS, 2), "rate", "2"),
    Case("rate not a number", lambda work: poison(DATA, BADNETS, float("nan")), "rate", "nan"),
    Case("seed below zero", lambda work: poison(DATA, BADNETS, 0.5, seed=-1), "seed", "-1"),
    Works("rate of NumPy", lambda work: poison(DATA, BADNETS, HALF), lambda made: made.manifest.count == 6),
)
def test_poison(case: Case | Works, tmp_path: Path) -> None:
    case.hold(tmp_path)
