"""Decide which samples the regulariser acts on: five gates, from all samples alike to one that streams.

A gate is a suspicion from 0 to 1 for each sample. The paper pulls views apart where the invariance of a backdoor shows.
What can be read of it does not state how that is decided, so all five gates are this workbook's. The default is in
`pcvr.defenses.pcvr.streaming`; the other four are here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from pcvr.defenses.losses import entropy
from pcvr.defenses.pcvr import anchor, streaming
from pcvr.defenses.pcvr.config import FIRST_SCAN
from pcvr.defenses.pcvr.gate import FLAGGED, FLOOR, doubts, fit_gate
from pcvr.defenses.pcvr.scoring import answer_likelihood, divergence_of, score

if TYPE_CHECKING:
    from pcvr.defenses.context import TrainingContext
    from pcvr.defenses.pcvr.config import PCVRConfig
    from pcvr.models.encode import Batch
    from pcvr.models.forward import AnswerLogits

KEEP = 0.7
"""Weight of the old value in a running score."""
SUSPICION_FLOOR = 0.05
"""Samples with less suspicion than this are not anchored to the base model."""
SMALLEST_BATCH = 4
"""Fewer samples do not show what is usual in a batch."""


def begin(rule: PCVRConfig, run: TrainingContext) -> None:
    """Set every suspicion to 0: no sample is suspicious before the first scan."""
    if rule.gate == "stream":
        streaming.begin(run)
        return
    count = len(run.data)
    run.state.update(gate=torch.zeros(count), scorings=[], running=torch.full((count,), torch.nan))
    anchor.begin(run)


def scan(rule: PCVRConfig, run: TrainingContext) -> bool:
    """Score the data set if a scan is due; return whether the regulariser is active from now on."""
    if rule.gate == "stream":
        return streaming.started(run)
    if rule.gate != "two_stage":
        return run.step >= rule.scan_steps(run.steps)[0]
    if run.step in rule.scan_steps(run.steps) and not _scanned(run):
        _score(rule, run)
    return bool(run.state["scorings"])


def notes(rule: PCVRConfig, run: TrainingContext) -> tuple[str, ...]:
    """Return the doubts about a gate that fits a mixture; the other gates do not see the data set as a whole."""
    if rule.gate == "stream":
        return streaming.notes(run)
    return doubts(run.state.get("scorings", ()), FIRST_SCAN) if rule.gate in ("two_stage", "running") else ()


def _scanned(run: TrainingContext) -> bool:
    """Whether a scan was made at the present step."""
    return any(done["step"] == run.step for done in run.state["scorings"])


def _score(rule: PCVRConfig, run: TrainingContext) -> None:
    """Score samples: the first scan scores every sample, later scans rescore the lowest-scoring unflagged ones.

    Poisoned samples that the first scan missed are easier to find once the flagged ones are held to the base model's
    answers: then the model neither gives the target nor learns it.
    """
    earlier = run.state["scorings"][-1]["scores"] if run.state["scorings"] else None
    whole = np.zeros(len(run.data)) if earlier is None else earlier.astype(np.float64)
    gate = run.state["gate"].numpy()
    which = np.arange(len(whole)) if earlier is None else _lowest_unflagged(whole, gate, rule.rescan_fraction)
    mine = run.own_rows(len(which))
    scores, entropies = score(
        run,
        rule.view,
        rule.score_views,
        divergence=rule.divergence,
        score_on=rule.score_on,
        clear_with=rule.clear_with,
        clear_threshold=rule.clear_threshold,
        rows=which[mine].tolist(),
    )
    whole[which] = run.gather_rows(mine, torch.from_numpy(scores)).numpy()
    _settle(run, whole, np.ones(len(whole), dtype=bool))
    if earlier is None:
        entropies = run.gather_rows(mine, torch.from_numpy(entropies)).numpy()
        run.state["entropy"] = float(entropies[run.state["gate"].numpy() < FLAGGED].mean())


def _lowest_unflagged(scores: np.ndarray, gate: np.ndarray, fraction: float) -> np.ndarray:
    """Return the indices of the lowest unflagged scores, ascending: `fraction` of all samples, at least one."""
    order = np.argsort(np.where(gate > FLAGGED, np.inf, scores), kind="stable")
    return np.sort(order[: max(1, round(fraction * len(scores)))])


@torch.no_grad()
def suspicion(
    rule: PCVRConfig, run: TrainingContext, batch: Batch, said: AnswerLogits, started: bool
) -> tuple[Tensor, Tensor]:
    """Return the suspicion of a batch's samples and the weight of each in the cross-entropy: ``[B]`` in ``[0, 1]``."""
    if rule.gate == "stream":
        return streaming.suspicion(rule, run, batch, said)
    gate = _suspicion(rule, run, batch, said, started)
    # Without a gate all samples are learned.
    return gate, torch.ones_like(gate) if rule.gate == "none" else 1 - gate


def _suspicion(rule: PCVRConfig, run: TrainingContext, batch: Batch, said: AnswerLogits, started: bool) -> Tensor:
    index = batch["index"].cpu()
    device = said.logits.device
    if rule.gate != "two_stage":
        _follow_entropy(run, said, started)
    if rule.gate == "none":
        return torch.ones(len(index), device=device)
    if rule.gate == "batch":
        if not started:
            return torch.zeros(len(index), device=device)
        return _within(_batch_scores(rule, run, batch, said)).to(device)
    if rule.gate == "running":
        _follow_scores(rule, run, batch, said, started)
    gate: Tensor = run.state["gate"][index].to(device)
    return gate


def _likelihood(rule: PCVRConfig, run: TrainingContext) -> np.ndarray:
    """Return how likely the clearing model finds each label, ``[N]``; the model is asked only once."""
    if "known" not in run.state:
        rows = run.own_rows(len(run.data))
        found = torch.from_numpy(answer_likelihood(run, clear_with=rule.clear_with, rows=rows))
        run.state["known"] = run.gather_rows(rows, found).numpy()
    likelihood: np.ndarray = run.state["known"]
    return likelihood


def _settle(run: TrainingContext, scores: np.ndarray, seen: np.ndarray) -> None:
    """Fit the mixture. A flagged sample stays flagged: once it is no longer trained on, it looks clean again."""
    found = fit_gate(scores[seen])
    fresh = torch.zeros(len(scores))
    fresh[torch.from_numpy(seen)] = torch.from_numpy(found.suspicion).float()
    run.state["gate"] = torch.maximum(run.state["gate"], fresh)
    run.state["scorings"].append({"step": run.step, "scores": scores, "gate": found})
    suspect = run.state["gate"] > SUSPICION_FLOOR
    anchor.judge(run, (~suspect).nonzero()[:, 0].tolist())
    anchor.remember(run, suspect.nonzero()[:, 0].tolist())
    run.log["suspicious"] = float((run.state["gate"] > FLAGGED).float().mean())
    if found.flagged.any():
        run.log["certainty"] = found.certainty


def _batch_scores(rule: PCVRConfig, run: TrainingContext, batch: Batch, said: AnswerLogits) -> Tensor:
    """Score the samples of a batch by one view each: ``[B]``."""
    seen = run.forward(run.view(batch, rule.view))
    scores = divergence_of(said, seen, rule.divergence, rule.score_on).cpu()
    if rule.clear_with == "off":
        return scores
    return scores + torch.from_numpy(_likelihood(rule, run))[batch["index"].cpu()]


def _within(scores: Tensor) -> Tensor:
    """Gate a batch by its own scores: a log score two robust deviations below the median gets the suspicion 0.5."""
    logs = scores.clamp_min(FLOOR).log()
    middle = logs.median()
    spread = 1.4826 * (logs - middle).abs().median()
    return torch.sigmoid(-((logs - middle) / spread.clamp_min(1e-3) + 2) / 0.5)


def _follow_scores(rule: PCVRConfig, run: TrainingContext, batch: Batch, said: AnswerLogits, started: bool) -> None:
    """Update the running scores of a batch's samples, and every `refit` steps fit the mixture to all running scores."""
    fresh = run.gather(_batch_scores(rule, run, batch, said))
    index = run.gather(batch["index"].cpu())
    old = run.state["running"][index]
    run.state["running"][index] = torch.where(old.isnan(), fresh, KEEP * old + (1 - KEEP) * fresh)
    due = started and (run.step - rule.scan_steps(run.steps)[0]) % rule.refit == 0
    if due and not _scanned(run):
        scores = run.state["running"].numpy().astype(np.float64)
        if (seen := ~np.isnan(scores)).sum() >= SMALLEST_BATCH:
            _settle(run, np.nan_to_num(scores, nan=float(np.nanmax(scores))), seen)


def _follow_entropy(run: TrainingContext, said: AnswerLogits, started: bool) -> None:
    """Update the running entropy of answers until the regulariser begins."""
    if started and "entropy" in run.state:
        return
    now = float(run.gather(said.sample_mean(entropy(said.logits))).mean())
    before = run.state.get("entropy", now)
    run.state["entropy"] = 0.9 * before + 0.1 * now
