"""How well the gate of a defence separated poisoned from clean samples; the defence never sees which are poisoned."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from pcvr.defenses.pcvr.stream import StreamGate


def gate_report(state: Mapping[str, Any], poisoned: Sequence[int], count: int) -> list[dict[str, Any]]:
    """Return an entry for each scan, or one for a gate that streams; none where the defence judged no samples.

    Args:
        state: of the training, ``result.run.state``.
        poisoned: numbers of the poisoned samples.
        count: number of the training samples.

    Returns:
        Plain values: ``step``, ``flagged``, ``false alarms``, and ``recall`` where some samples are poisoned; of a scan
        also the ``auroc`` of its scores, and of a gate that streams its ``verdict``.
    """
    if "stream" in state:
        return [stream_quality(state["stream"], poisoned, count)]
    return gate_quality(state.get("scorings", []), poisoned, count)


def gate_quality(scorings: Sequence[Mapping[str, Any]], poisoned: Sequence[int], count: int) -> list[dict[str, Any]]:
    """Return how well each scan separated poisoned from clean samples, see `gate_report`."""
    truth = _truth(poisoned, count)
    found = []
    for scoring in scorings:
        quality = _counts(scoring["step"], scoring["gate"].suspicion > 0.5, truth)
        if "recall" in quality:
            from sklearn.metrics import roc_auc_score

            quality["auroc"] = round(float(roc_auc_score(truth, -scoring["scores"])), 4)
        found.append(quality)
    return found


def stream_quality(gate: StreamGate, poisoned: Sequence[int], count: int) -> dict[str, Any]:
    """Return which samples a gate that streams held to be poisoned when it last saw them, see `gate_report`.

    The step is that of the first hearing with the verdict that stands at the end, or 0 if there was no hearing.
    """
    flagged = np.zeros(count, dtype=bool)
    known = gate.flagged[:count]  # ends with the highest number that was seen
    flagged[: len(known)] = known
    step = 0
    for hearing in reversed(gate.hearings):
        if hearing.verdict != gate.verdict:
            break
        step = hearing.step
    return {**_counts(step, flagged, _truth(poisoned, count)), "verdict": gate.verdict}


def _truth(poisoned: Sequence[int], count: int) -> np.ndarray:
    truth = np.zeros(count, dtype=bool)
    truth[list(poisoned)] = True
    return truth


def _counts(step: int, flagged: np.ndarray, truth: np.ndarray) -> dict[str, Any]:
    found: dict[str, Any] = {"step": step, "flagged": int(flagged.sum()), "false alarms": int((flagged & ~truth).sum())}
    if truth.any() and not truth.all():
        found["recall"] = round(float(flagged[truth].mean()), 4)
    return found
