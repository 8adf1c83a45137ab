"""How unexpected a label is: the least expected stretch of it, and its rank among the samples that went by lately."""

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


def token_surprise(said: AnswerLogits) -> tuple[np.ndarray, np.ndarray]:
    """Return the negative log-likelihood of each answer token, nats, and its row in the batch: ``[A]`` each."""
    nll = cross_entropy(said.logits.detach(), said.targets, reduction="none")
    return nll.float().cpu().numpy(), said.owner.cpu().numpy()


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
class SurpriseRanks(RecentRanks):
    """Ranks labels by their surprise among those of the recent visits.

    Attributes:
        recent: surprises of the last visits, nats.
        usual: mean surprise of a token in each of the last `USUAL` visits, nats.
    """

    usual: list[float] = field(default_factory=list)

    def rank_labels(self, nll: np.ndarray, owner: np.ndarray, samples: int, gather: Gather = np.asarray) -> np.ndarray:
        """Take a batch in and return the rank of each sample: ``[B]`` in ``[0, 1]``; 1 is the most unexpected.

        Args:
            nll: ``[A]``, of each answer token, nats.
            owner: ``[A]``, ascending: the token's sample.
            samples: B.
            gather: joins the values of processes that train together.
        """
        count = np.bincount(owner, minlength=samples).clip(1)
        mean = np.bincount(owner, weights=nll, minlength=samples) / count
        self.usual = [*self.usual, *gather(mean).tolist()][-USUAL:]
        surprise = span_surprise(nll, owner, samples, float(np.median(self.usual)))
        rank = self.rank(surprise, gather)
        return np.where(surprise > 0, rank, np.minimum(rank, 0.5))
