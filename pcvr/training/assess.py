"""The figures of samples that go by once, and what the gate says about them all."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from pcvr.defenses.pcvr.config import FIRST_SCAN, PCVRConfig
from pcvr.defenses.pcvr.gate import doubts, fit_gate
from pcvr.defenses.pcvr.scoring import view_divergences
from pcvr.errors import PcvrError
from pcvr.training.verdict import check_enough

if TYPE_CHECKING:
    from pcvr.defenses import Defense
    from pcvr.defenses.context import TrainingContext
    from pcvr.models.encode import Batch


@dataclass(frozen=True)
class Assessment:
    """The gate's figures of N samples.

    Attributes:
        index: ``[N]``, which samples they are.
        scores: ``[N]``, low is suspicious.
        suspicion: ``[N]`` in ``[0, 1]``.
        notes: doubts about the gate, one sentence each.
    """

    index: np.ndarray
    scores: np.ndarray
    suspicion: np.ndarray
    notes: tuple[str, ...]


@torch.no_grad()
def assess(run: TrainingContext, rule: Defense, batches: Iterable[Batch]) -> Assessment:
    """Score the samples of `batches` by their views and likelihoods, and fit the gate.

    Args:
        run: model, and how views are made of a batch.
        rule: the options of PCVR.
        batches: the samples, each once.

    Raises:
        PcvrError: `rule` is not PCVR, or there are too few samples for a verdict.
    """
    if not isinstance(rule, PCVRConfig):
        raise PcvrError(f"config is the defence {rule.name!r}, which has no gate: give a pcvr.PCVRConfig.")
    index, scores = [np.zeros(0, dtype=int)], [np.zeros(0)]
    for batch in batches:
        said = run.forward_no_grad(batch)
        seen = [
            view_divergences(run, batch, said, rule.view, rule.score_on, divergence=rule.divergence)[0]
            for _ in range(rule.score_views)
        ]
        score = torch.stack(seen).mean(0)
        if rule.clear_with != "off":
            score += (said if rule.clear_with == "now" else run.base_forward_no_grad(batch)).likelihood()
        index.append(batch["index"].numpy())
        scores.append(score.double().cpu().numpy())
    every = np.concatenate(scores)
    check_enough(len(every))
    gate = fit_gate(every)
    notes = doubts([{"step": FIRST_SCAN, "gate": gate}], FIRST_SCAN)
    return Assessment(np.concatenate(index), every, gate.suspicion, notes)
