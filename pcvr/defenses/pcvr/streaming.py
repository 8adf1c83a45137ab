"""The streaming gate at work in a training: what it is told of each batch, and what it rules."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from pcvr.defenses.losses import entropy
from pcvr.defenses.pcvr import anchor
from pcvr.defenses.pcvr.inputs import image_rows, label_rows, prompt_rows
from pcvr.defenses.pcvr.kept import Kept
from pcvr.defenses.pcvr.other_question import given_elsewhere
from pcvr.defenses.pcvr.pools import HELD
from pcvr.defenses.pcvr.scoring import view_divergences
from pcvr.defenses.pcvr.stream import EARLY, UNEXPECTED, StreamGate
from pcvr.defenses.pcvr.surprise import Gather, token_surprise
from pcvr.defenses.pcvr.verdicts import ENOUGH

if TYPE_CHECKING:
    from pcvr.defenses.context import TrainingContext
    from pcvr.defenses.pcvr.config import PCVRConfig
    from pcvr.models.encode import Batch
    from pcvr.models.forward import AnswerLogits

INVARIANT = 0.1
"""Divergence, nats, below which an expected label does not depend on the image. A label that falls from certain to
even odds has 0.22."""
JUDGES = 16
"""Samples of a batch on which the base model is judged at a hearing."""


def begin(run: TrainingContext) -> None:
    """Start with nothing seen, nobody suspicious and no trust in the base model."""
    run.state.update(stream=StreamGate(random=run.seed), trust=0.0)


def gate_of(run: TrainingContext) -> StreamGate:
    """Return the gate of a training that `begin` prepared."""
    gate: StreamGate = run.state["stream"]
    return gate


def started(run: TrainingContext) -> bool:
    """Whether a trigger was found, so that the regulariser acts."""
    return gate_of(run).witness is not None


@torch.no_grad()
def suspicion(rule: PCVRConfig, run: TrainingContext, batch: Batch, said: AnswerLogits) -> tuple[Tensor, Tensor]:
    """Rule on a batch.

    Args:
        rule: what proposes suspicious samples, and how views are made.
        run: its state holds the gate.
        batch: the samples.
        said: the model's answers to them, with what the tower saw.

    Returns:
        The suspicion of each sample and its weight in the cross-entropy, ``[B]`` each, 0 or 1. A sample that is only
        held back has neither.
    """
    gate, device = gate_of(run), said.logits.device
    if run.step < rule.late_start:
        _follow_entropy(run, said, np.zeros(said.samples, dtype=bool))
        return torch.zeros(said.samples, device=device), torch.ones(said.samples, device=device)

    def gather(values: np.ndarray) -> np.ndarray:
        return run.gather(torch.from_numpy(values)).numpy()

    nll, owner, token = token_surprise(said)
    rank = gate.ranks.rank_labels(nll, owner, token, said.samples, gather)
    likely = None
    if rule.propose == "views":
        rank = rank.clip(max=UNEXPECTED / 2)
    else:
        total = np.bincount(owner, weights=nll, minlength=said.samples)
        likely = gather(gate.likely.ranks.rank(-total, gather))
    mine = _kept(batch, said, rank)
    diverging = steady = None
    if rule.propose == "views" or (rule.propose == "both" and gate.wants_views(run.step)):
        diverging = _divergences(rule, run, batch, said, np.ones(said.samples, dtype=bool))
        steady = gather(gate.invariance.rank(-diverging / _tokens(said), gather))
    given = None
    if rule.propose == "both" and gate.wants_questions(run.step):
        seed = run.seed + run.step
        asked = gate.given.choose(mine, gate.seen < EARLY, seed)
        given = gather(given_elsewhere(run, batch, mine, asked, seed))
    known, flagged = _flagged(rule, run, batch, said, mine, diverging)
    held = gate.held(mine) if rule.propose != "views" else np.zeros(said.samples, dtype=bool)
    everything = _gathered(mine, gather)
    gate.note(everything.index, gather(flagged))
    heard = len(gate.hearings)
    gate.see(everything, run.step, rule.witness, steady, likely, given)
    if gate.witness is not None and len(gate.hearings) > heard:
        anchor.follow(run, batch, torch.from_numpy((~known & (rank < UNEXPECTED)).nonzero()[0][:JUDGES]).to(device))
    _follow_entropy(run, said, flagged | held)
    run.log["suspicious"] = float(gate.flagged.mean())
    trust = torch.from_numpy(~(flagged | held)).to(device, said.logits.dtype)
    return torch.from_numpy(flagged).to(device, said.logits.dtype), trust


@torch.no_grad()
def look_again(rule: PCVRConfig, run: TrainingContext, batch: Batch, rank: np.ndarray) -> np.ndarray:
    """Return which samples are flagged by the gate as it is, which learns nothing from them: bool ``[B]``.

    Args:
        rule: the options.
        run: its state holds the gate.
        batch: the samples.
        rank: ``[B]``, of their labels' surprise.
    """
    said = run.forward_no_grad(batch, pictures=True)
    return _flagged(rule, run, batch, said, _kept(batch, said, rank))[1]


def _kept(batch: Batch, said: AnswerLogits, rank: np.ndarray) -> Kept:
    images = np.zeros((said.samples, 1), np.float16) if said.pictures is None else image_rows(said.pictures)
    return Kept(batch["index"].cpu().numpy(), rank, images, prompt_rows(batch), label_rows(batch))


def _flagged(
    rule: PCVRConfig,
    run: TrainingContext,
    batch: Batch,
    said: AnswerLogits,
    samples: Kept,
    diverging: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Return which samples look like the suspicious ones, and which of them are flagged: bool ``[B]`` each.

    A label that is not expected is flagged; one that is expected, only if it hardly changes with a view, or less than
    nearly all others do. `diverging` are the divergences of all labels, where they are known already.
    """
    gate = gate_of(run)
    known = gate.recognised(samples)
    flagged, expected = (known & which for which in gate.unexpected(samples))
    if rule.propose != "likelihood":
        changes = _divergences(rule, run, batch, said, expected) if diverging is None else diverging[expected]
        steady = gate.invariance.among(-changes / _tokens(said)[expected])
        flagged[expected] = (changes < INVARIANT) | (steady >= HELD)
    return known, flagged


def _tokens(said: AnswerLogits) -> np.ndarray:
    """Return the number of answer tokens of each sample, at least 1: ``[B]``."""
    return np.bincount(said.owner.cpu().numpy(), minlength=said.samples).clip(1)


def notes(run: TrainingContext) -> tuple[str, ...]:
    """Return the doubts about the gate, one sentence each."""
    gate = gate_of(run)
    tried = gate.hearings[-1].suspicious if gate.hearings else 0
    if gate.verdict == "undecided":
        why = f"{gate.seen} samples, {tried} of them suspicious"
        if gate.others.images.size and not gate.others.images.any():
            why += ", and of no image could be told which sample it belongs to"
        doubt = f"it takes {ENOUGH}" if tried < ENOUGH else "their images differ a little from others'"
        return (
            f"The gate came to no verdict ({why}; {doubt}): it held back the least expected labels and flagged none, "
            "so give more data or more steps.",
        )
    if gate.verdict == "trigger" and gate.witness is not None and gate.witness.suspicious < ENOUGH:
        return (
            f"The gate found a trigger from few suspicious samples ({gate.witness.suspicious}): check the "
            f"{int(gate.flagged.sum())} flagged ones by eye.",
        )
    return ()


def _gathered(kept: Kept, gather: Gather) -> Kept:
    return Kept(*(gather(value) for value in vars(kept).values()))


def _divergences(
    rule: PCVRConfig, run: TrainingContext, batch: Batch, said: AnswerLogits, asked: np.ndarray
) -> np.ndarray:
    """Return how far the labels of the rows `asked` (bool ``[B]``) diverge on a view: nats, summed over tokens."""
    rows = torch.from_numpy(asked.nonzero()[0]).to(said.logits.device)
    if not len(rows):
        return np.zeros(0)
    (found,) = view_divergences(run, batch, said, rule.view, "label", divergence=rule.divergence, rows=rows)
    return np.asarray(found.float().cpu().numpy())


def _follow_entropy(run: TrainingContext, said: AnswerLogits, suspicious: np.ndarray) -> None:
    """Update the running entropy of unsuspicious answers until the regulariser begins."""
    if started(run) and "entropy" in run.state:
        return
    spread = said.sample_mean(entropy(said.logits))[torch.from_numpy(~suspicious).to(said.logits.device)]
    everyone = run.gather(spread)
    if len(everyone):
        now = float(everyone.mean())
        run.state["entropy"] = 0.9 * run.state.get("entropy", now) + 0.1 * now
