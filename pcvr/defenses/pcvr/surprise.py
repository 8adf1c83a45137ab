"""How unexpected a label is: the least expected stretch of it, and its rank among the samples that went by lately.

A stretch is measured in two ways, and the higher rank counts. Against the usual surprise of any token, every unusual
label stands out. But early in training the style of all labels is new, and a wrong word drowns in it: so a stretch is
measured against the usual surprise of its own tokens too.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
from torch.nn.functional import cross_entropy

from pcvr.models.forward import AnswerLogits

Gather = Callable[[np.ndarray], np.ndarray]
"""Joins the values of processes that train together."""

RECENT = 512
"""Visits that a sample is ranked among: the model changes, so older ones say nothing about a sample of today."""
FEWEST = 32
"""With fewer visits there is no rank: all samples count as middling."""
USUAL = 128
"""Visits whose median is the usual surprise of a token."""
DOUBTED = 3.0
"""Uses of a token at the usual surprise that are added to its own, so that a rare one is not known from few uses."""
FADING, FORGOTTEN = 0.999, 0.01
"""Weight that a use of a token keeps with each further visit, and the weight at which a token is forgotten."""


def token_surprise(said: AnswerLogits) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the negative log-likelihood of each answer token, nats, its row in the batch, and itself: ``[A]`` each."""
    nll = cross_entropy(said.logits.detach(), said.targets, reduction="none")
    return nll.float().cpu().numpy(), said.owner.cpu().numpy(), said.targets.cpu().numpy()


def span_surprise(nll: np.ndarray, owner: np.ndarray, samples: int, usual: float) -> np.ndarray:
    """Compute the largest sum over a stretch of a label of what its tokens exceed the usual surprise by: ``[B]``, nats.

    A label that is wrong only in part (a target in front of the true answer) is as unexpected as its worst stretch; in
    a mean over the label it would drown, and in a plain sum long labels would be suspicious because they are long.

    Args:
        nll: ``[A]``, of each answer token, nats.
        owner: ``[A]``, ascending: the token's sample.
        samples: B; a sample without tokens gets 0.
        usual: surprise of a usual token, nats.
    """
    found = np.zeros(samples)
    starts = np.searchsorted(owner, np.arange(samples + 1))
    for sample, (start, end) in enumerate(pairwise(starts)):
        sums = np.concatenate([[0.0], np.cumsum(nll[start:end] - usual)])
        found[sample] = (sums - np.minimum.accumulate(sums)).max()
    return found


@dataclass
class RecentRanks:
    """Ranks values among those of the recent visits.

    Attributes:
        recent: values of the last visits, the oldest first; at most `RECENT`.
    """

    recent: list[float] = field(default_factory=list)

    def rank(self, values: np.ndarray, gather: Gather = np.asarray) -> np.ndarray:
        """Take values in and return the rank of each: ``[B]`` -> ``[B]`` in ``[0, 1]``; 1 is the largest."""
        self.recent = [*self.recent, *gather(values).tolist()][-RECENT:]
        return self.among(values)

    def among(self, values: np.ndarray) -> np.ndarray:
        """Return the rank of each value among those taken in: ``[B]`` -> ``[B]`` in ``[0, 1]``; 1 is the largest."""
        if len(self.recent) < FEWEST:
            return np.full(len(values), 0.5)
        ordered = np.sort(self.recent)
        low, high = (np.searchsorted(ordered, values, side) for side in ("left", "right"))
        return np.asarray((low + high) / 2 / len(ordered))


@dataclass
class TokenUsual:
    """How surprising each token was lately; no more entries than the vocabulary has.

    Attributes:
        token: int64 ``[V]``, ascending.
        uses: ``[V]``, faded number of its uses.
        total: ``[V]``, faded sum of its surprises, nats.
    """

    token: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int64))
    uses: np.ndarray = field(default_factory=lambda: np.zeros(0))
    total: np.ndarray = field(default_factory=lambda: np.zeros(0))

    def take_in(self, token: np.ndarray, nll: np.ndarray, visits: int) -> None:
        """Take in the tokens of some visits, ``[A]``, and their surprises, nats."""
        fade = FADING**visits
        kept = self.uses * fade >= FORGOTTEN
        merged, at = np.unique(np.concatenate([self.token[kept], token]), return_inverse=True)
        uses = np.concatenate([self.uses[kept] * fade, np.ones(len(token))])
        total = np.concatenate([self.total[kept] * fade, nll])
        self.token = merged
        self.uses, self.total = (np.bincount(at, weights=each, minlength=len(merged)) for each in (uses, total))

    def of(self, token: np.ndarray, otherwise: float) -> np.ndarray:
        """Return the usual surprise of each token that was taken in, ``[A]``, nats; `otherwise` of an unknown one."""
        at = np.searchsorted(self.token, token)
        return np.asarray((self.total[at] + DOUBTED * otherwise) / (self.uses[at] + DOUBTED))


@dataclass
class SurpriseRanks(RecentRanks):
    """Ranks labels by their surprise among those of the recent visits.

    Attributes:
        recent: the higher rank of each of the last visits.
        usual: mean surprise of a token in each of the last `USUAL` visits, nats.
        tokens: usual surprise of each token; each process of a training has its own.
        spans: surprises of stretches against the usual surprise of any token, nats.
        excesses: surprises of stretches against the usual surprise of their tokens, nats.
    """

    usual: list[float] = field(default_factory=list)
    tokens: TokenUsual = field(default_factory=TokenUsual)
    spans: RecentRanks = field(default_factory=RecentRanks)
    excesses: RecentRanks = field(default_factory=RecentRanks)

    def rank_labels(
        self, nll: np.ndarray, owner: np.ndarray, token: np.ndarray, samples: int, gather: Gather = np.asarray
    ) -> np.ndarray:
        """Take a batch in and return the rank of each sample: ``[B]`` in ``[0, 1]``; 1 is the most unexpected.

        Args:
            nll: ``[A]``, of each answer token, nats.
            owner: ``[A]``, ascending: the token's sample.
            token: ``[A]``, its number.
            samples: B.
            gather: joins the values of processes that train together.
        """
        count = np.bincount(owner, minlength=samples).clip(1)
        mean = np.bincount(owner, weights=nll, minlength=samples) / count
        self.usual = [*self.usual, *gather(mean).tolist()][-USUAL:]
        usual = float(np.median(self.usual))
        self.tokens.take_in(token, nll, samples)
        span = span_surprise(nll, owner, samples, usual)
        excess = span_surprise(nll - self.tokens.of(token, usual), owner, samples, 0.0)
        rank = self.rank(np.maximum(self.spans.rank(span, gather), self.excesses.rank(excess, gather)), gather)
        return np.where((span > 0) | (excess > 0), rank, np.minimum(rank, 0.5))
