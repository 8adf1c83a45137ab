"""Anchor suspicious samples to the base model: their answers should begin as the base model would begin them (ours).

Pulling apart states what an answer should not be. If some poison stays undetected, the trigger still has a meaning, and
the answer is neither the target nor correct. The base model has not seen the training data, so its answer to a
triggered image ignores the trigger. An anchored sample therefore teaches that the trigger means nothing. The base model
is asked once, when a sample becomes suspicious, so that a step costs no more. Only the first token is anchored, because
the tokens after it follow the attacker's label. BYORn (arXiv 2606.02947), which came first, trains suspicious samples
on whole answers that an average of the model generates (`pcvr.defenses.baselines.byorn`).

The base model is trusted by how well it begins unsuspicious answers. If it gives their first label tokens a mean
probability ``a``, the term is weighted by ``max(0, 2 a - 1)``. If the labels begin in another way than the base model's
answers, as a new style of captions does, the base model is no guide.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn.functional import log_softmax

if TYPE_CHECKING:
    from pcvr.defenses.context import TrainingContext
    from pcvr.models.encode import Batch
    from pcvr.models.forward import AnswerLogits

JUDGED = 0.064
"""Fraction of the data, in unsuspicious samples, on which the base model is judged."""
JUDGED_WITHIN = (16, 128)
"""The smallest and the largest number of these samples."""
TOKENS = 16
"""Most likely first tokens that are kept of each sample; the rest of the distribution is dropped."""


def begin(run: TrainingContext) -> None:
    """Clear what the base model said: tokens ``[N, 16]`` and their probabilities, all zero, and no trust."""
    run.state["first words"] = torch.zeros(len(run.data), TOKENS, dtype=torch.long)
    run.state["first chances"] = torch.zeros(len(run.data), TOKENS)
    run.state["trust"] = 0.0


@torch.no_grad()
def judge(run: TrainingContext, unsuspicious: Sequence[int]) -> None:
    """Set the trust in the base model, from the first tokens of some `unsuspicious` samples' labels."""
    fewest, most = JUDGED_WITHIN
    count = min(max(fewest, round(JUDGED * len(run.data))), most)
    rows = list(unsuspicious)[:: max(1, len(unsuspicious) // count)][:count]
    if not rows:
        return
    probabilities = []
    for _, said in _base(run, rows):
        first, _ = first_tokens(said)
        probabilities.append(said.logits[first].softmax(-1).gather(1, said.targets[first][:, None]))
    run.state["trust"] = max(0.0, 2 * float(torch.cat(probabilities).mean()) - 1)
    run.log["base model trusted"] = run.state["trust"]


@torch.no_grad()
def follow(run: TrainingContext, batch: Batch, unsuspicious: Tensor) -> None:
    """Set the trust in the base model to its running mean over batches, from some `unsuspicious` rows ``[R]``."""
    if not len(unsuspicious):
        return
    said = run.base_forward_no_grad(run.part(batch, unsuspicious))
    first, _ = first_tokens(said)
    likely = run.gather(said.logits[first].softmax(-1).gather(1, said.targets[first][:, None]))
    asked, mean = run.state.get("asked", 0), run.state.get("base begins", 0.0)
    total = asked + len(likely)
    run.state["base begins"] = (asked * mean + float(likely.sum())) / total
    run.state["asked"] = total
    run.state["trust"] = max(0.0, 2 * run.state["base begins"] - 1)
    run.log["base model trusted"] = run.state["trust"]


@torch.no_grad()
def remember(run: TrainingContext, rows: Sequence[int], batch_size: int | None = None) -> None:
    """Ask the base model how it begins its answers to these samples, except those that it was asked about before."""
    probabilities = run.state["first chances"]
    rows = [row for row in rows if not probabilities[row].any()]
    for index, said in _base(run, rows, batch_size):
        first, owner = first_tokens(said)
        top = said.logits[first].softmax(-1).topk(min(TOKENS, said.logits.shape[1]))
        at = index[owner.cpu()]
        run.state["first words"][at, : top.indices.shape[1]] = top.indices.cpu()
        probabilities[at, : top.values.shape[1]] = (top.values / top.values.sum(-1, keepdim=True)).cpu()


def _base(run: TrainingContext, rows: Sequence[int], size: int | None = None) -> Iterator[tuple[Tensor, AnswerLogits]]:
    """Yield the indices of samples and the base model's answers to them, batch by batch."""
    for batch in run.batches(rows, JUDGED_WITHIN[1], size=size):
        yield batch["index"], run.base_forward_no_grad(batch)


def first_tokens(said: AnswerLogits) -> tuple[Tensor, Tensor]:
    """Return the rows of `said.logits` that are the first of a sample, and their samples: ``[B']`` each."""
    fresh = torch.ones_like(said.owner, dtype=torch.bool)
    fresh[1:] = said.owner[1:] != said.owner[:-1]
    first = fresh.nonzero()[:, 0]
    return first, said.owner[first]


def anchor_loss(run: TrainingContext, batch: Batch, said: AnswerLogits, gate: Tensor) -> Tensor:
    """Sum the cross-entropy of first answer tokens against the base model's, weighted by suspicion and trust.

    Args:
        run: its state holds what `remember` and `judge` found.
        batch: the samples.
        said: the model's answers to them, with gradient.
        gate: ``[B]`` in ``[0, 1]``, the suspicion.

    Returns:
        A scalar, nats times samples; samples that the base model was not asked about add nothing.
    """
    trust: float = run.state["trust"]
    first, owner = first_tokens(said)
    if "first words" not in run.state:  # a gate that streams asks when the sample comes
        rows = (gate > 0).nonzero()[:, 0]
        if trust == 0 or not len(rows):
            return said.logits.new_zeros(())
        base = run.base_forward_no_grad(run.part(batch, rows))
        begun = base.logits[first_tokens(base)[0]].softmax(-1)
        mine = log_softmax(said.logits[first[torch.isin(owner, rows)]], -1)
        return trust * (gate[rows] * -(begun * mine).sum(-1)).sum()
    index = batch["index"].cpu()[owner.cpu()]
    tokens = run.state["first words"][index].to(said.logits.device)
    probabilities = run.state["first chances"][index].to(said.logits.device)
    surprise = -(probabilities * log_softmax(said.logits[first], -1).gather(1, tokens)).sum(-1)
    return trust * (gate[owner] * surprise).sum()
