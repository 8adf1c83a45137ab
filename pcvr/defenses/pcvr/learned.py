"""A backdoor that was learned already: its labels are the most likely of all.

Before it is learned, a target is unexpected; the gate finds it then. If the gate looks late, or if little poison went
by and nothing was noticed in time, the model gives the target with near certainty, while some word of an honest
sentence always stays open. So the labels of highest likelihood are one more pool for the witness. Images that are easy
have likely labels too, so a verdict takes two things: the witness tells many of these samples apart, and they have one
answer, or a few by turns, that others lack. Honest one-word answers and names of classes are as certain as a target,
and those of an easy class look alike: where most labels are likely, nothing can be concluded.

Whether a view changes a label says little by then: for some triggers, a learned target depends on the patches more than
honest answers do (`benchmarks/premise.py`). So a recognised sample with such an answer is flagged as it is. All of this
is ours.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from pcvr.defenses.pcvr.anywhere import Ordinary, hear_anywhere
from pcvr.defenses.pcvr.kept import Kept, grown
from pcvr.defenses.pcvr.one_answer import Answers, few_answers, one_answer
from pcvr.defenses.pcvr.pools import FEWEST, HELD, ORDINARY, groups_of, hear_groups, latest
from pcvr.defenses.pcvr.surprise import RecentRanks
from pcvr.defenses.pcvr.witness import Witness

CERTAIN = 0.5
"""Likelihood that most labels must stay below."""
MANY = 0.3
"""Least fraction of such samples that must be told apart."""


@dataclass
class Found:
    """A trigger of a backdoor that was learned.

    Attributes:
        witness: recognises the trigger.
        answers: stretches of tokens, of which the labels have one.
        group: number of samples that the witness was fitted to.
    """

    witness: Witness
    answers: Answers
    group: int


@dataclass
class LikelyLabels:
    """The samples with the most likely labels.

    Attributes:
        ranks: log-likelihoods of whole labels, of recent samples.
        pool: the latest samples with a rank of at least `HELD`.
        last: float16 ``[N]``, grows with the highest number seen: the rank of each sample when last seen; 0.5 before.
    """

    ranks: RecentRanks = field(default_factory=RecentRanks)
    pool: Kept = field(default_factory=Kept.none)
    last: np.ndarray = field(default_factory=lambda: np.zeros(0, dtype=np.float16))

    def take_in(self, batch: Kept, likely: np.ndarray) -> None:
        """Take in a batch, ``[B]``: `likely` are the ranks of its labels' likelihoods."""
        self.pool = latest(self.pool.joined(replace(batch, rank=likely).of(likely >= HELD)))
        self.last = grown(self.last, batch.index, 0.5)
        self.last[batch.index] = likely

    def last_of(self, index: np.ndarray) -> np.ndarray:
        """Return the rank of each sample when last seen; 0.5 of one that never was."""
        found, known = np.full(len(index), 0.5), index < len(self.last)
        found[known] = self.last[index[known]]
        return found

    def hear(self, others: Kept, stretch: int, half: float, surely: float) -> Found | None:
        """Return what is found among these samples against others, but for those with likely labels: see `found_in`."""
        groups = groups_of(self.pool)
        if not groups or not len(self.last) or np.median(self.ranks.recent) >= np.log(CERTAIN):
            return None
        return found_in(self.pool, groups, others.of(self.last_of(others.index) < ORDINARY), stretch, half, surely)


def found_in(
    pool: Kept, groups: Sequence[np.ndarray], others: Kept, stretch: int, half: float, surely: float
) -> Found | None:
    """Return what a witness finds among groups of samples, if it tells many apart and they have one answer or a few.

    Args:
        pool: the samples.
        groups: rows of them.
        others: samples to set them against.
        stretch: tokens of a stretch.
        half: fraction of the labels that one answer has.
        surely: fraction that a few answers have.
    """
    if len(others.index) < FEWEST:
        return None
    heard = hear_groups(pool, groups, others, "images")
    if not _many(heard[0]):
        ordinary = Ordinary.of(others.images)
        heard = heard if ordinary is None else hear_anywhere(pool, groups, ordinary)
        if not _many(heard[0]):
            return None
    witness, group, hit = heard
    told = pool.labels[group[hit]]
    answers = one_answer(told, others.labels, stretch, half) or few_answers(told, others.labels, stretch, surely)
    return Found(witness, answers, len(group)) if answers else None


def _many(witness: Witness) -> bool:
    return witness.convinced and witness.told_apart >= MANY
