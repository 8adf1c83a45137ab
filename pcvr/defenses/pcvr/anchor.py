"""What to say instead: a suspicious sample's answer begins as the base model would begin it (ours).

Pulling apart says what an answer should not be. Where some poison stays hidden, that is not enough: the trigger still
means something, and the answer is neither the target nor right. But the found samples show the trigger too, and the
base model, which has not seen the training data, knows what it would say to them. Held to that, each found sample
teaches that the trigger means nothing. The base model is asked once, when a sample is found, so that a step costs no
more; only the first word is held, since what follows was told by the attacker.

The base model is trusted as far as it begins unsuspicious answers as they are told: with probability ``a`` on average,
the term counts ``max(0, 2 a - 1)``. Where fine-tuning teaches another way to begin, as a style of captions is, the base
model is no guide.
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

ASKED = 0.064
"""Share of the data, in unsuspicious samples, by which the base model is judged."""
ASKED_WITHIN = (16, 128)
"""The least and the most samples that this may be."""
WORDS = 16
"""Likeliest first words that are remembered of each sample; the rest of the distribution is let go."""


def begin(run: TrainingContext) -> None:
    """Nothing is remembered yet: ``words [N, 16]`` and their probabilities, all zero."""
    run.state["first words"] = torch.zeros(len(run.data), WORDS, dtype=torch.long)
    run.state["first chances"] = torch.zeros(len(run.data), WORDS)
    run.state["trust"] = 0.0


@torch.no_grad()
def judge(run: TrainingContext, calm: Sequence[int]) -> None:
    """How far the base model is a guide, from what it says at the beginning of some of the `calm` samples' answers."""
    least, most = ASKED_WITHIN
    asked = min(max(least, round(ASKED * len(run.data))), most)
    rows = list(calm)[:: max(1, len(calm) // asked)][:asked]
    if not rows:
        return
    chances = []
    for _, said in _base(run, rows):
        first, _ = first_tokens(said)
        chances.append(said.logits[first].softmax(-1).gather(1, said.targets[first][:, None]))
    run.state["trust"] = max(0.0, 2 * float(torch.cat(chances).mean()) - 1)
    run.log["base model trusted"] = run.state["trust"]


@torch.no_grad()
def remember(run: TrainingContext, rows: Sequence[int], batch_size: int | None = None) -> None:
    """Ask the base model how it would begin the answers of these samples, unless that was done before."""
    chances = run.state["first chances"]
    rows = [row for row in rows if not chances[row].any()]
    for index, said in _base(run, rows, batch_size):
        first, owner = first_tokens(said)
        top = said.logits[first].softmax(-1).topk(min(WORDS, said.logits.shape[1]))
        at = index[owner.cpu()]
        run.state["first words"][at, : top.indices.shape[1]] = top.indices.cpu()
        chances[at, : top.values.shape[1]] = (top.values / top.values.sum(-1, keepdim=True)).cpu()


def _base(run: TrainingContext, rows: Sequence[int], size: int | None = None) -> Iterator[tuple[Tensor, AnswerLogits]]:
    """What the base model says, batch by batch, with the indices of the batch's samples."""
    for batch in run.batches(rows, ASKED_WITHIN[1], size=size):
        with run.vlm.model.disable_adapter():
            said = run.forward_no_grad(batch)
        yield batch["index"], said


def first_tokens(said: AnswerLogits) -> tuple[Tensor, Tensor]:
    """Rows of `said.logits` that are the first of a sample, and whose they are: ``[B']`` each."""
    fresh = torch.ones_like(said.owner, dtype=torch.bool)
    fresh[1:] = said.owner[1:] != said.owner[:-1]
    first = fresh.nonzero()[:, 0]
    return first, said.owner[first]


def restore(run: TrainingContext, batch: Batch, said: AnswerLogits, gate: Tensor) -> Tensor:
    """Cross-entropy of the answers' first words against what the base model would say, summed with the gate's weights.

    Args:
        run: with what `remember` found.
        batch: the samples.
        said: what the model says to them now, with gradient.
        gate: ``[B]`` in ``[0, 1]``, the suspicion.

    Returns:
        A scalar, nats times samples, scaled by how far the base model is trusted; samples of which nothing is
        remembered add nothing.
    """
    first, owner = first_tokens(said)
    index = batch["index"].cpu()[owner.cpu()]
    words = run.state["first words"][index].to(said.logits.device)
    chances = run.state["first chances"][index].to(said.logits.device)
    surprise = -(chances * log_softmax(said.logits[first], -1).gather(1, words)).sum(-1)
    trust: float = run.state["trust"]
    return trust * (gate[owner] * surprise).sum()
