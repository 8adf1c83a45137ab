"""Samples with equal answers, as the report lists them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from pcvr.auditing.evidence import speaking
from pcvr.auditing.repeats import repeated
from pcvr.auditing.scoring import answer_key
from pcvr.data.sample import Sample

if TYPE_CHECKING:
    from pcvr.auditing.result import AuditResult


@dataclass(frozen=True)
class Cluster:
    """Samples with one answer; of a conversation its most frequent one counts.

    Attributes:
        answer: the text of one of them.
        count: their number.
        flagged: how many of them are flagged.
        surprise: median rank of their surprise.
        speaks: how many more of their pictures speak for the label than against it, as a fraction.
    """

    answer: str
    count: int
    flagged: int
    surprise: float
    speaks: float


def clusters_of(audit: AuditResult, most: int = 15) -> list[Cluster]:
    """Return the largest clusters of at least two samples, those with flagged samples first."""
    answers, _ = repeated(audit.store)
    keys, first, inverse, counts = np.unique(answers, return_index=True, return_inverse=True, return_counts=True)
    flagged = np.bincount(inverse, weights=audit.flagged, minlength=len(counts)).astype(int)
    order = np.lexsort((-counts, -flagged))
    found = []
    for place in order[counts[order] >= 2][:most].tolist():
        mine = inverse == place
        found.append(
            Cluster(
                _text_of(audit.data[int(first[place])], int(keys[place])),
                int(counts[place]),
                int(flagged[place]),
                float(np.median(audit.surprise.rank[mine])),
                speaking(audit.surprise.support[mine]),
            )
        )
    return found


def _text_of(sample: Sample, key: int) -> str:
    """Return the answer of a sample that has a key."""
    return next((text for _, text in sample.exchanges if answer_key(text) == key), sample.answer)
