"""BYORn (arXiv 2606.02947): suspicious samples are trained on answers that the model generates itself."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from pcvr.defenses import averaged
from pcvr.defenses.base import Defense, Fit, StagePlan
from pcvr.defenses.baselines.abl import sample_losses
from pcvr.defenses.pcvr.gate import Gate
from pcvr.defenses.registry import register_defense
from pcvr.errors import PcvrError
from pcvr.models.encode import collate
from pcvr.models.own_answers import with_own_answers
from pcvr.tasks import get_task
from pcvr.utils.checks import check_number, check_whole

if TYPE_CHECKING:
    from pcvr.defenses.context import TrainingContext
    from pcvr.models.encode import Batch

CLEAN, SUSPICIOUS = 0, 1
"""Groups of samples that are not mixed in an optimiser step."""


@register_defense
@dataclass(frozen=True)
class BYORnF(Defense):
    """Leave out the samples whose labels the base model finds least likely: the filter of BYORn alone.

    The score of a sample is the mean negative log-likelihood of its label's tokens under the base model (the adapter is
    off), ``s = -(1/K) sum_l ln p_base(y_l | y_<l, x, q)``, nats. Samples above the `percentile` of all scores are
    suspicious and are not trained on.

    From the paper: the score, and the 60th percentile, which is low on purpose: recall counts more than false
    positives. We work from notes about the paper, not from its full text.

    Needs no clean data, but one pass of the base model over the data before the training, which counts as time of the
    defence. The training has as many steps as plain fine-tuning, on fewer samples. ``run.state`` gets ``suspicious``, a
    bool tensor ``[N]``, and an entry in ``scorings`` whose scores are ``-s``, so that low is suspicious as elsewhere.

    Attributes:
        percentile: of the scores; samples above it are suspicious. Above 0 and below 100.
    """

    name: ClassVar[str] = "byorn_f"
    percentile: float = field(
        default=60.0, metadata={"help": "samples with scores above it are suspicious, (0, 100) (paper: 60)"}
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        check_number("percentile", self.percentile, 0, 100, above=True)
        if self.percentile == 100:
            raise PcvrError("percentile is 100: give less than 100, so that some samples can be suspicious.")

    def begin(self, run: TrainingContext) -> None:
        """Start with no sample suspicious.

        Raises:
            PcvrError: fewer than two samples, which have no percentile between them.
        """
        if len(run.data) < 2:
            raise PcvrError(
                f"defence {self.name!r} got {len(run.data)} sample: give at least 2, since it compares their scores."
            )
        run.state.update(suspicious=torch.zeros(len(run.data), dtype=torch.bool), scorings=[])

    def train(self, run: TrainingContext, fit: Fit) -> None:
        """Score with the base model, and train on what is not suspicious."""
        suspicious = self.judge(run)
        fit(StagePlan(rows=np.flatnonzero(~suspicious).tolist()))

    def judge(self, run: TrainingContext) -> np.ndarray:
        """Score all samples, set ``run.state``, and return which are suspicious: bool ``[N]``."""
        surprise = base_surprise(run, self.name)
        suspicious = surprise > np.percentile(surprise, self.percentile)
        run.state["suspicious"] = torch.from_numpy(suspicious)
        run.state["scorings"] = [{"step": 0, "scores": -surprise, "gate": _as_gate(surprise, suspicious)}]
        return suspicious

    def notes(self, run: TrainingContext) -> tuple[str, ...]:
        """Say whether no score lies above the percentile."""
        if not run.state.get("scorings") or bool(run.state["suspicious"].any()):
            return ()
        return (
            f"Defence {self.name!r} found no sample suspicious, since no score lies above the percentile "
            f"{self.percentile:g}: the base model finds too many labels equally likely, so it trained on all as told.",
        )


@register_defense
@dataclass(frozen=True)
class BYORn(BYORnF):
    """Train suspicious samples on answers that an average of the model generates, never on their labels.

    "Bootstrap your own responses". Samples are scored as in `BYORnF`. The training then uses

    - for clean samples, their labels;
    - for suspicious ones, the greedy answer of the model with averaged adapter weights, generated when the sample comes
      up. The average follows every optimiser step: ``a <- decay a + (1 - decay) w``. It starts at the untrained
      adapter, so the first answers are those of the base model.

    The loss is the mean cross-entropy of the answer tokens in both cases. An optimiser step has either clean samples
    only or suspicious ones only, and the steps of each kind are spread evenly over an epoch, so generation is rare.

    From the paper: all of the above. Its `decay` is not known to us; ours is 0.99, an average over about 100 steps.
    Ours too: answers end with the end-of-turn token; the last step of each kind in an epoch is filled up with samples
    of that kind; micro-batches of an accumulated step are weighted by the lengths of their labels. We work from notes
    about the paper, not from its full text.

    Needs no clean data, but a pass of the base model over the data before the training, and generation in each step
    with suspicious samples (reported by the paper: about three times the training time). ``run.state`` gets what
    `BYORnF` keeps and the averaged weights.

    Attributes:
        percentile: of the scores; samples above it are suspicious. Above 0 and below 100.
        decay: weight of the old value in the average, in ``[0, 1)``; 0 generates with the present weights.
        pure_batches: False shuffles clean and suspicious samples together; then nearly every step generates.
        max_new_tokens: greatest length of a generated answer; 0 for that of the data's task.
    """

    name: ClassVar[str] = "byorn"
    decay: float = field(
        default=0.99, metadata={"help": "decay of the average that answers, [0, 1) (paper: an average; value ours)"}
    )
    pure_batches: bool = field(
        default=True, metadata={"help": "a step has only clean or only suspicious samples (paper: yes)"}
    )
    max_new_tokens: int = field(
        default=0, metadata={"help": "tokens of a generated answer at most; 0: as many as the task has (ours)"}
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        check_number("decay", self.decay, 0, 1)
        if self.decay == 1:
            raise PcvrError("decay is 1: give less than 1, or the average stays at the untrained adapter.")
        check_whole("max_new_tokens", self.max_new_tokens, 0, what="tokens; 0 for those of the task")

    def begin(self, run: TrainingContext) -> None:
        """Start with no sample suspicious, and the average at the untrained adapter; errors as `BYORnF.begin`."""
        super().begin(run)
        averaged.begin(run)

    def train(self, run: TrainingContext, fit: Fit) -> None:
        """Score with the base model, and train on all samples, in steps of one kind."""
        suspicious = self.judge(run)
        groups = np.where(suspicious, SUSPICIOUS, CLEAN).tolist()
        fit(StagePlan(groups=groups if self.pure_batches else None))

    def loss(self, run: TrainingContext, batch: Batch) -> Tensor:
        """Return the mean cross-entropy of the answer tokens, those of suspicious samples generated, a scalar."""
        averaged.follow(run, self.decay)
        index = batch["index"].tolist()
        suspicious = run.state["suspicious"][index].tolist()
        if any(suspicious):
            batch = self.bootstrapped(run, index, suspicious)
        said = run.forward(batch)
        return cross_entropy(said.logits, said.targets)

    def bootstrapped(self, run: TrainingContext, index: Sequence[int], suspicious: Sequence[bool]) -> Batch:
        """Return the samples at `index` ``[B]`` as a batch, the suspicious ones with generated answers."""
        rows = run.data.__getitems__(index)
        which = [k for k, each in enumerate(suspicious) if each]
        most = self.max_new_tokens or get_task(run.data.data.task).max_new_tokens
        with averaged.averaged(run):
            answered = with_own_answers(run.vlm, [rows[k] for k in which], most)
        same = [torch.equal(rows[k]["labels"], row["labels"]) for k, row in zip(which, answered, strict=True)]
        run.log["own answers as told"] = sum(same) / len(same)
        for k, row in zip(which, answered, strict=True):
            rows[k] = row
        return collate(rows, run.vlm.tokenizer.pad_token_id)


@torch.no_grad()
def base_surprise(run: TrainingContext, defense: str, batch_size: int | None = None) -> np.ndarray:
    """Return the mean negative log-likelihood of each label under the base model: float64 ``[N]``, nats a token.

    Args:
        run: model and data.
        defense: its name, for the error.
        batch_size: samples at a time; None for as many as fit the memory, at most 64.

    Raises:
        PcvrError: a sample has no answer token.
    """
    rows, found = run.own_rows(len(run.data)), []
    for batch in run.batches(rows, 64, size=batch_size, about="score samples"):
        found.append(sample_losses(run.base_forward_no_grad(batch), defense))
    return run.gather_rows(rows, torch.cat(found)).cpu().double().numpy()


def _as_gate(surprise: np.ndarray, suspicious: np.ndarray) -> Gate:
    """Return the suspicious samples as a gate, for tables of hits and false positives."""
    high, low = surprise[suspicious], surprise[~suspicious]
    if not len(high):
        return Gate(np.zeros(len(surprise)), 0.0, 0.0, False)
    spread = np.sqrt((low.var() * len(low) + high.var() * len(high)) / len(surprise))
    separation = float((high.mean() - low.mean()) / spread) if spread > 0 else 0.0
    return Gate(suspicious.astype(float), separation, float(suspicious.mean()), True)
