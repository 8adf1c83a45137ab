"""From cross-view divergences to a suspicion for each training sample.

Backdoored answers hardly change between views (the paper's premise), so their divergence forms a low cluster of its
own. A two-component Gaussian mixture on the log divergence finds it; the posterior of the low component is the gate.
The gate is this workbook's addition: without it, pulling apart acts on every sample and the backdoor stays.

A mixture finds two components in anything. When to doubt what it found, and the bounds for that, are ours as well.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

FLOOR = 1e-6
"""Divergences are clamped here (nats) before the logarithm."""
FLAGGED = 0.5
"""A sample more suspicious than this counts as flagged."""
ENOUGH = 200
"""Fewer scores than this are few. Of 400 simulated heaps without poison (log scores from one normal distribution) the
mixture flags some samples in 38 % with 50 scores, and is certain of them in 7 %; with 200 in 15 % and 0.3 %."""
CERTAIN = 0.9
"""A gate less certain than this has groups that overlap. With 2000 scenes, 5 % poisoned, and the default options it is
certain by 0.98 to 1 where it finds the poison, by 0.7 on clean captions and where it finds one poisoned in eight."""


@dataclass(frozen=True)
class Gate:
    """What the mixture found.

    Attributes:
        suspicion: ``[N]`` in ``[0, 1]``, posterior probability of the low cluster; all zero when there is none.
        separation: distance of the two means in pooled standard deviations.
        share: share of the samples in the low cluster.
        found: whether the low cluster counts as one.
    """

    suspicion: np.ndarray
    separation: float
    share: float
    found: bool

    @property
    def flagged(self) -> np.ndarray:
        """Samples more suspicious than not: bool ``[N]``."""
        return np.asarray(self.suspicion > FLAGGED)

    @property
    def certainty(self) -> float:
        """Mean suspicion of the flagged samples: the share of them that the mixture itself takes to be in the low
        cluster, above 0.5 and up to 1; 1 where none is flagged."""
        return float(self.suspicion[self.flagged].mean()) if self.flagged.any() else 1.0


def fit_gate(scores: np.ndarray, *, least_separation: float = 2.0, most_share: float = 0.5) -> Gate:
    """Fit the mixture and say which samples are suspiciously invariant.

    Args:
        scores: ``[N]`` mean cross-view divergence of each sample, nats, at least four.
        least_separation: means closer than this many pooled standard deviations are no two clusters.
        most_share: a low cluster with more than this share is no minority and therefore no poison.

    Returns:
        The gate; on data without a separate low cluster nothing is suspicious.
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
    share = float(mixture.weights_[suspect])
    found = separation >= least_separation and share <= most_share
    posterior = mixture.predict_proba(logs)[:, suspect]
    # A wide low component also claims the far upper tail; divergence there is the opposite of suspicious.
    posterior = np.where(logs[:, 0] > mixture.means_[1 - suspect, 0], 0.0, posterior)
    return Gate(posterior if found else np.zeros(len(logs)), separation, share, found)


def doubts(scorings: Sequence[Mapping[str, Any]], first: int) -> tuple[str, ...]:
    """What there is to doubt about a gate that looked at these scores, one sentence each; none if it is sure.

    A flagged sample stays flagged, so the least certain look counts.

    Args:
        scorings: the looks: ``"step"`` and ``"gate"`` of each.
        first: the first step before which training has changed the model.
    """
    if not scorings:
        return ("The gate has not looked: the training ended before its first look, and no sample was held back.",)
    found: list[str] = []
    if (step := min(look["step"] for look in scorings)) < first:
        found.append(
            f"The gate looked before any training (step {step}), so its scores are those of the model before "
            "fine-tuning: give more steps."
        )
    if (count := min(len(look["gate"].suspicion) for look in scorings)) < ENOUGH:
        found.append(
            f"The gate had few scores ({count}): with fewer than {ENOUGH} it may well find a group where there is none "
            "and miss one that is there; check the flagged samples by eye, or give more data."
        )
    if not any(look["gate"].flagged.any() for look in scorings):
        found.append(
            "The gate found no group of low scores that stands apart, so no sample was held back: that is right if "
            "none is poisoned; if some are, this look cannot tell them."
        )
    least = min(scorings, key=lambda look: float(look["gate"].certainty))
    if (certainty := least["gate"].certainty) < CERTAIN:
        found.append(
            f"The groups of the gate overlap at step {least['step']}: of {int(least['gate'].flagged.sum())} flagged "
            f"samples {100 * (1 - certainty):.0f} % or more are false alarms by its own account, as on data without "
            "poison; check them by eye, or give more data."
        )
    return tuple(found)
