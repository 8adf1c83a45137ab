"""From cross-view divergences to a suspicion for each training sample.

Backdoored answers hardly change between views (the paper's premise), so their divergence forms a low cluster of its
own. A two-component Gaussian mixture on the log divergence finds it; the posterior of the low component is the gate.
The gate is this workbook's addition: without it, pulling apart acts on every sample and the backdoor stays.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

FLOOR = 1e-6
"""Divergences are clamped here (nats) before the logarithm."""


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
