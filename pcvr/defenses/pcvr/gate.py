"""Turn the cross-view divergences of training samples into suspicions.

Backdoored answers hardly change between views (the paper's premise), so their divergences form a separate low cluster.
A two-component Gaussian mixture on the log divergence finds it; the posterior of the low component is the gate. The
gate is this workbook's addition: without it, pulling apart acts on every sample and the backdoor stays.

A mixture finds two components in any data. The rules for doubting a result, and their bounds, are ours too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from pcvr.utils.renamed import accepts_old_names, old_arguments

FLOOR = 1e-6
"""Divergences are clamped to at least this (nats) before the logarithm."""
FLAGGED = 0.5
"""A sample with more suspicion than this is flagged."""
FEW = 200
"""Fewer scores than this are few. The mixture flags some samples in 38 % of 400 simulated data sets without poison (log
scores from one normal distribution) with 50 scores each, and is certain of them in 7 %; with 200 scores, in 15 % and
0.3 %."""
CERTAIN = 0.9
"""A gate with less certainty than this has groups that overlap. With 2000 scenes, 5 % poisoned, and the default options
the certainty is 0.98 to 1 where the gate finds the poison, and 0.7 on clean captions and where it finds one poisoned
sample in eight."""


@accepts_old_names
@dataclass(frozen=True)
class Gate:
    """What the mixture found.

    Attributes:
        suspicion: ``[N]`` in ``[0, 1]``, posterior probability of the low cluster; all zero without a low cluster.
        separation: distance of the two means in pooled standard deviations.
        fraction: fraction of the samples in the low cluster.
        found: whether the low cluster is separate and small enough to count.
    """

    RENAMED: ClassVar[Mapping[str, str]] = {"share": "fraction"}

    suspicion: np.ndarray
    separation: float
    fraction: float
    found: bool

    @property
    def flagged(self) -> np.ndarray:
        """Samples that are more suspicious than not: bool ``[N]``."""
        return np.asarray(self.suspicion > FLAGGED)

    @property
    def certainty(self) -> float:
        """Mean suspicion of the flagged samples, above 0.5 and up to 1: the fraction of them that the mixture expects
        to be in the low cluster. It is 1 if none is flagged."""
        return float(self.suspicion[self.flagged].mean()) if self.flagged.any() else 1.0


@old_arguments(least_separation="min_separation", most_share="max_fraction")
def fit_gate(scores: np.ndarray, *, min_separation: float = 2.0, max_fraction: float = 0.5) -> Gate:
    """Fit the mixture and return the suspicion of each sample.

    Args:
        scores: ``[N]`` scores, such as mean cross-view divergences, nats, at least four.
        min_separation: fewest pooled standard deviations between the means of two clusters.
        max_fraction: largest fraction of the samples in a low cluster that counts: poison is a minority.

    Returns:
        The gate; without a separate low cluster no sample is suspicious.
    """
    from sklearn.mixture import GaussianMixture

    logs = np.log(np.maximum(np.asarray(scores, dtype=np.float64), FLOOR))[:, None]
    low, high = np.quantile(logs, [0.02, 0.6])
    if not low < high:
        return Gate(np.zeros(len(logs)), 0.0, 0.0, False)
    mixture = GaussianMixture(
        2,
        means_init=[[low], [high]],
        weights_init=[0.05, 0.95],
        precisions_init=np.full((2, 1, 1), 1 / logs.var()),
        reg_covar=1e-3,
        max_iter=200,
        random_state=0,
    ).fit(logs)
    suspect = int(np.argmin(mixture.means_[:, 0]))
    deviation = float(np.sqrt(mixture.covariances_[:, 0, 0] @ mixture.weights_))
    separation = float(abs(np.diff(mixture.means_[:, 0])[0]) / deviation)
    fraction = float(mixture.weights_[suspect])
    found = separation >= min_separation and fraction <= max_fraction
    posterior = mixture.predict_proba(logs)[:, suspect]
    # A wide low component also covers the far upper tail, and a high divergence is not suspicious.
    posterior = np.where(logs[:, 0] > mixture.means_[1 - suspect, 0], 0.0, posterior)
    return Gate(posterior if found else np.zeros(len(logs)), separation, fraction, found)


def doubts(scorings: Sequence[Mapping[str, Any]], first: int) -> tuple[str, ...]:
    """Return what is doubtful about a gate after these scans, one sentence each; none if the gate is certain.

    A flagged sample stays flagged, so the least certain scan counts.

    Args:
        scorings: the scans: ``"step"`` and ``"gate"`` of each.
        first: the first step before which training has changed the model.
    """
    if not scorings:
        return ("The gate made no scan: the training ended before the first scan, and no sample was held back.",)
    found: list[str] = []
    if (step := min(scan["step"] for scan in scorings)) < first:
        found.append(
            f"The gate scanned before any training (step {step}), so its scores are those of the model before "
            "fine-tuning: give more steps."
        )
    if (count := min(len(scan["gate"].suspicion) for scan in scorings)) < FEW:
        found.append(
            f"The gate had few scores ({count}): with fewer than {FEW} it may flag a group without poison or miss "
            "one that is; check the flagged samples by eye, or give more data."
        )
    if not any(scan["gate"].flagged.any() for scan in scorings):
        found.append(
            "The gate found no separate group of low scores, so no sample was held back: that is correct if none is "
            "poisoned; if some are, these scores cannot show it."
        )
    least = min(scorings, key=lambda scan: float(scan["gate"].certainty))
    if (certainty := least["gate"].certainty) < CERTAIN:
        found.append(
            f"The groups of the gate overlap at step {least['step']}: of {int(least['gate'].flagged.sum())} flagged "
            f"samples, at least {100 * (1 - certainty):.0f} % are false positives by the gate's own estimate, as on "
            "data without poison; check them by eye, or give more data."
        )
    return tuple(found)
