"""Whom the regulariser acts on: four gates, from all samples alike to a mixture over the scores of the whole data set.

A gate is a suspicion from 0 to 1 for each sample. The paper pulls views apart where that invariance shows and does
not say, in what can be read of it, how that is decided: all four are this workbook's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from pcvr.defenses.losses import entropy
from pcvr.defenses.pcvr import anchor
from pcvr.defenses.pcvr.config import FIRST_LOOK
from pcvr.defenses.pcvr.gate import FLOOR, doubts, fit_gate
from pcvr.defenses.pcvr.scoring import divergence_of, known, score

if TYPE_CHECKING:
    from pcvr.defenses.context import TrainingContext
    from pcvr.defenses.pcvr.config import PCVRConfig
    from pcvr.models.encode import Batch
    from pcvr.models.forward import AnswerLogits

KEEP = 0.7
"""Share of the old value in a running score."""
SUSPICION_FLOOR = 0.05
"""What is less suspicious than this is left as it is."""
SMALLEST_BATCH = 4
"""Fewer samples say nothing about what is usual in a batch."""


def begin(run: TrainingContext) -> None:
    """No sample is suspicious before the first look."""
    count = len(run.data)
    run.state.update(gate=torch.zeros(count), scorings=[], running=torch.full((count,), torch.nan))
    anchor.begin(run)


def look(rule: PCVRConfig, run: TrainingContext) -> bool:
    """Score the whole data set if it is time to; whether the regulariser is at work from now on."""
    if rule.gate != "two_stage":
        return run.step >= rule.looks(run.steps)[0]
    if run.step in rule.looks(run.steps) and all(done["step"] != run.step for done in run.state["scorings"]):
        _score(rule, run)
    return bool(run.state["scorings"])


def notes(rule: PCVRConfig, run: TrainingContext) -> tuple[str, ...]:
    """What the gates that fit a mixture are not sure of; the other two do not look at the data as a whole."""
    return doubts(run.state.get("scorings", ()), FIRST_LOOK) if rule.gate in ("two_stage", "running") else ()


def _score(rule: PCVRConfig, run: TrainingContext) -> None:
    """The first look scores everybody; a later one those of whom it came closest to suspicion.

    What stayed hidden at first is easier to tell once the others are held to what the base model says: then the target
    is an answer that the model neither gives nor learns.
    """
    earlier = run.state["scorings"][-1]["scores"] if run.state["scorings"] else None
    whole = np.zeros(len(run.data)) if earlier is None else earlier.astype(np.float64)
    which = np.arange(len(whole)) if earlier is None else _doubtful(whole, run.state["gate"].numpy(), rule.again)
    mine = run.share(len(which))
    scores, spreads = score(
        run,
        rule.view,
        rule.score_views,
        divergence=rule.divergence,
        over=rule.score_over,
        cleared_by=rule.known,
        enough=rule.enough,
        rows=which[mine].tolist(),
    )
    whole[which] = run.gather_rows(mine, torch.from_numpy(scores)).numpy()
    _settle(run, whole, np.ones(len(whole), dtype=bool))
    if earlier is None:
        spreads = run.gather_rows(mine, torch.from_numpy(spreads)).numpy()
        run.state["entropy"] = float(spreads[run.state["gate"].numpy() < 0.5].mean())


def _doubtful(scores: np.ndarray, gate: np.ndarray, share: float) -> np.ndarray:
    """Indices, ascending, of the lowest scores among samples not yet found, `share` of all in number, at least one."""
    order = np.argsort(np.where(gate > 0.5, np.inf, scores), kind="stable")
    return np.sort(order[: max(1, round(share * len(scores)))])


@torch.no_grad()
def suspicion(rule: PCVRConfig, run: TrainingContext, batch: Batch, said: AnswerLogits, started: bool) -> Tensor:
    """The gate of a batch's samples: ``[B]`` in ``[0, 1]``."""
    index = batch["index"].cpu()
    device = said.logits.device
    if rule.gate != "two_stage":
        _follow_entropy(run, said, started)
    if rule.gate == "none":
        return torch.ones(len(index), device=device)
    if rule.gate == "batch":
        return _within(_fresh(rule, run, batch, said)).to(device) if started else torch.zeros(len(index), device=device)
    if rule.gate == "running":
        _follow_scores(rule, run, batch, said, started)
    gate: Tensor = run.state["gate"][index].to(device)
    return gate


def _known(rule: PCVRConfig, run: TrainingContext) -> np.ndarray:
    """How likely each sample's answer is to the model that may clear it: ``[N]``; asked once."""
    if "known" in run.state:
        already: np.ndarray = run.state["known"]
        return already
    rows = run.share(len(run.data))
    found = torch.from_numpy(known(run, by=rule.known, rows=rows))
    run.state["known"] = fresh = run.gather_rows(rows, found).numpy()
    return fresh


def _settle(run: TrainingContext, scores: np.ndarray, seen: np.ndarray) -> None:
    """Fit the mixture; once suspicious stays suspicious, since what is no longer trained looks clean again."""
    found = fit_gate(scores[seen])
    fresh = torch.zeros(len(scores))
    fresh[torch.from_numpy(seen)] = torch.from_numpy(found.suspicion).float()
    run.state["gate"] = torch.maximum(run.state["gate"], fresh)
    run.state["scorings"].append({"step": run.step, "scores": scores, "gate": found})
    suspect = run.state["gate"] > SUSPICION_FLOOR
    anchor.judge(run, (~suspect).nonzero()[:, 0].tolist())
    anchor.remember(run, suspect.nonzero()[:, 0].tolist())
    run.log["suspicious"] = float((run.state["gate"] > 0.5).float().mean())
    if found.flagged.any():
        run.log["certainty"] = found.certainty


def _fresh(rule: PCVRConfig, run: TrainingContext, batch: Batch, said: AnswerLogits) -> Tensor:
    """The batch's own scores from one view: ``[B]``."""
    seen = run.forward(run.view(batch, rule.view))
    scores = divergence_of(said, seen, rule.divergence, rule.score_over).cpu()
    if rule.known == "off":
        return scores
    return scores + torch.from_numpy(_known(rule, run))[batch["index"].cpu()]


def _within(scores: Tensor) -> Tensor:
    """A soft gate inside the batch: two robust deviations below the batch's median log score is half suspicious."""
    logs = scores.clamp_min(FLOOR).log()
    middle = logs.median()
    spread = 1.4826 * (logs - middle).abs().median()
    return torch.sigmoid(-((logs - middle) / spread.clamp_min(1e-3) + 2) / 0.5)


def _follow_scores(rule: PCVRConfig, run: TrainingContext, batch: Batch, said: AnswerLogits, started: bool) -> None:
    """Keep a running score of each sample, and now and then fit the mixture to those seen so far."""
    fresh = run.gather(_fresh(rule, run, batch, said))
    index = run.gather(batch["index"].cpu())
    old = run.state["running"][index]
    run.state["running"][index] = torch.where(old.isnan(), fresh, KEEP * old + (1 - KEEP) * fresh)
    due = started and (run.step - rule.looks(run.steps)[0]) % rule.refit == 0
    if due and all(done["step"] != run.step for done in run.state["scorings"]):
        scores = run.state["running"].numpy().astype(np.float64)
        if (seen := ~np.isnan(scores)).sum() >= SMALLEST_BATCH:
            _settle(run, np.nan_to_num(scores, nan=float(np.nanmax(scores))), seen)


def _follow_entropy(run: TrainingContext, said: AnswerLogits, started: bool) -> None:
    """The usual entropy of an answer before the regulariser sets in, followed batch by batch."""
    if started and "entropy" in run.state:
        return
    now = float(run.gather(said.sample_mean(entropy(said.logits))).mean())
    before = run.state.get("entropy", now)
    run.state["entropy"] = 0.9 * before + 0.1 * now
