"""What a gate says about the samples that it has seen."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from pcvr.defenses.pcvr.streaming import gate_of
from pcvr.errors import PcvrError

if TYPE_CHECKING:
    from pcvr.defenses.context import TrainingContext

FEWEST = 50
"""Samples that a verdict needs: in fewer, a mixture finds two components whatever the data are."""


def flagged(run: TrainingContext) -> list[int]:
    """Return the indices of the flagged samples, ascending.

    Raises:
        PcvrError: the gate has seen fewer than `FEWEST` samples, or the defence has no gate that goes by the batches.
    """
    if "stream" not in run.state:
        raise PcvrError("the defence has no gate that streams, so it flags no samples: give a pcvr.PCVRConfig().")
    gate = gate_of(run)
    check_enough(gate.seen)
    return [int(index) for index in np.flatnonzero(gate.flagged)]


def check_enough(seen: int) -> None:
    """Raise unless the samples are enough for a verdict.

    Raises:
        PcvrError: they are fewer than `FEWEST`.
    """
    if seen < FEWEST:
        raise PcvrError(
            f"the gate has seen {seen} samples, which is too few to tell poisoned from clean ones: show it at least "
            f"{FEWEST}."
        )
