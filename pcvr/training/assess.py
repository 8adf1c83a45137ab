"""The figures of samples that go by once, and what the gate says about them all."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from scipy.stats import rankdata

from pcvr.defenses.pcvr import streaming
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
def assess(run: TrainingContext, rule: Defense, batches: Callable[[], Iterable[Batch]]) -> Assessment:
    """Score the samples of `batches` with the model as it is, and let the gate decide.

    Args:
        run: model, and how views are made of a batch.
        rule: the options of PCVR.
        batches: returns the samples, each once; the streaming gate reads them again where it has found a trigger.

    Raises:
        PcvrError: `rule` is not PCVR, or there are too few samples for a verdict.
    """
    if not isinstance(rule, PCVRConfig):
        raise PcvrError(f"config is the defence {rule.name!r}, which has no gate: give a pcvr.PCVRConfig.")
    return _as_they_go_by(run, rule, batches) if rule.gate == "stream" else _by_mixture(run, rule, batches())


def _as_they_go_by(run: TrainingContext, rule: PCVRConfig, batches: Callable[[], Iterable[Batch]]) -> Assessment:
    """Show the samples to the streaming gate; where it finds a trigger, look for it in all of them.

    A score is the likelihood rank of the label, 1 the most expected, less 1 for a sample with the trigger.
    """
    streaming.begin(run)
    gate = streaming.gate_of(run)
    index, surprise = [np.zeros(0, dtype=int)], [np.zeros(0)]
    for run.step, batch in enumerate(batches()):
        said = run.forward_no_grad(batch, pictures=True)
        streaming.suspicion(rule, run, batch, said)
        index.append(batch["index"].cpu().numpy())
        surprise.append(np.array(gate.ranks.recent[-said.samples :]))
    order, values = np.concatenate(index), np.concatenate(surprise)
    _check_once(order)
    gate.judge(run.step)
    rank = rankdata(values) / len(values)  # the model stands still, so all labels can be compared
    flagged = np.zeros(len(order), dtype=bool)
    if gate.witness is not None:
        place = {int(each): row for row, each in enumerate(order)}
        read = np.zeros(len(order), dtype=bool)
        for batch in batches():
            rows = np.array([place.get(int(each), -1) for each in batch["index"]])
            if (rows < 0).any():
                raise _read_once()
            read[rows] = True
            flagged[rows] = streaming.look_again(rule, run, batch, rank[rows])
        if not read.all():
            raise _read_once()
    gate.flagged = np.zeros(0, dtype=bool)
    gate.note(order, flagged)
    return Assessment(order, 1 - rank - flagged, flagged.astype(float), streaming.notes(run))


def _check_once(index: np.ndarray) -> None:
    """Raise unless there are enough samples, each once."""
    check_enough(len(index))
    numbers, count = np.unique(index, return_counts=True)
    if count.max() > 1:
        raise PcvrError(
            f"index {numbers[count.argmax()]} stands at {count.max()} samples of the data: give each sample a number "
            "of its own."
        )


def _read_once() -> PcvrError:
    return PcvrError(
        "the data set gave other samples when it was read again, which the gate does where it has found a trigger: "
        "give data that can be read twice, such as a list or a datasets.Dataset."
    )


def _by_mixture(run: TrainingContext, rule: PCVRConfig, batches: Iterable[Batch]) -> Assessment:
    """Score the samples by their views and likelihoods, and fit the mixture."""
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
    _check_once(np.concatenate(index))
    gate = fit_gate(every)
    notes = doubts([{"step": FIRST_SCAN, "gate": gate}], FIRST_SCAN)
    return Assessment(np.concatenate(index), every, gate.suspicion, notes)
