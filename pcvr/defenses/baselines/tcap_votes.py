"""TCAP's vote: which heads split the samples in a minority and a majority, and what their votes say together."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.integrate import trapezoid
from scipy.stats import norm

EPS = 1e-6
"""Added to the overlap before it is inverted (ours), so that a separation is finite."""
WIDTHS = np.linspace(-6, 6, 241)
"""Where densities are compared: so many standard deviations from the mean of each component."""
Place = tuple[int, int]
"""Layer and head, from 0."""
FEWEST = 3
"""Voters that Dawid-Skene needs: with fewer, many chances explain the same votes."""
PRIOR = 1.0
"""Votes of each kind that Dawid-Skene adds to what it counts (ours), so that no voter is infallible."""


@dataclass(frozen=True)
class HeadSplit:
    """What a mixture makes of one head's values.

    Attributes:
        mass: posterior probability of the minority (target) group, ``[N]`` in ``[0, 1]``.
        fraction: weight of the minority group, in ``(0, 0.5]``.
        overlap: area under both groups' densities, in ``[0, 1]``; 0 where they are apart.
        components: number of Gaussians.
    """

    mass: np.ndarray
    fraction: float
    overlap: float
    components: int

    @property
    def separation(self) -> float:
        """Separation score of the head, ``1 / (overlap + eps)``, above 0."""
        return 1 / (self.overlap + EPS)


def split_head(values: np.ndarray, most: int = 5, min_fraction: float = 0.0) -> HeadSplit | None:
    """Fit mixtures of 1 to `most` Gaussians, take the best by AIC, and split its components in two groups.

    The notes on the paper do not say how components become two groups. Ours: they are ordered by their means, and cut
    where the two groups' densities (each with area 1) overlap least; the group with less weight is the target.

    Args:
        values: ``[N]``, one a sample; they are first scaled to ``[0, 1]`` (min-max).
        most: the largest number of Gaussians; never more than there are different values.
        min_fraction: least weight of the target group: a mixture also spends Gaussians on a few outliers.

    Returns:
        The split; None if the values are constant, if one Gaussian is best, or if no cut leaves enough weight.
    """
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.mixture import GaussianMixture

    scaled = min_max(values)
    if scaled is None:
        return None
    column = scaled[:, None]
    limit = min(most, len(np.unique(scaled)))
    with warnings.catch_warnings():
        # More Gaussians than clusters may not converge; AIC then takes fewer of them.
        warnings.simplefilter("ignore", ConvergenceWarning)
        mixtures = [GaussianMixture(k, random_state=0).fit(column) for k in range(1, limit + 1)]
        best = min(mixtures, key=lambda mixture: float(mixture.aic(column)))
    order = np.argsort(best.means_[:, 0])
    weights, means = best.weights_[order], best.means_[order, 0]
    spreads = np.sqrt(best.covariances_[order, 0, 0])
    posterior = best.predict_proba(column)[:, order]
    found: HeadSplit | None = None
    for cut in range(1, len(order)):
        low, high = np.arange(len(order)) < cut, np.arange(len(order)) >= cut
        target = low if weights[low].sum() <= weights[high].sum() else high
        fraction = float(weights[target].sum())
        if fraction < min_fraction or not fraction:
            continue
        overlap = overlap_area(weights, means, spreads, target)
        if found is None or overlap < found.overlap:
            found = HeadSplit(posterior[:, target].sum(1).clip(0, 1), fraction, overlap, len(order))
    return found


def min_max(values: np.ndarray) -> np.ndarray | None:
    """Scale values ``[N]`` to ``[0, 1]``; None if they are constant up to rounding."""
    values = np.asarray(values, dtype=np.float64)
    low, high = float(values.min()), float(values.max())
    if high - low <= 1e-7 * max(1.0, abs(high)):
        return None
    return (values - low) / (high - low)


def overlap_area(weights: np.ndarray, means: np.ndarray, spreads: np.ndarray, target: np.ndarray) -> float:
    """Return the area under both of two groups of Gaussians: ``integral of min(p, q)``, in ``[0, 1]``.

    Args:
        weights: ``[K]`` of the Gaussians; each group's are divided by their sum.
        means: ``[K]``.
        spreads: standard deviations ``[K]``, above 0.
        target: bool ``[K]``, the Gaussians of one group; both groups have some.
    """
    at = np.unique((means[:, None] + spreads[:, None] * WIDTHS).ravel())
    density = weights[:, None] * norm.pdf(at, means[:, None], spreads[:, None])
    one, other = (density[group].sum(0) / weights[group].sum() for group in (target, ~target))
    return float(np.clip(trapezoid(np.minimum(one, other), at), 0, 1))


def poll(voters: Sequence[HeadSplit], threshold: float) -> tuple[np.ndarray, np.ndarray]:
    """Return the votes of H heads, bool ``[N, H]``, and each sample's posterior of being a target, ``[N]``.

    Three voters are the fewest whose errors Dawid-Skene can tell apart. With fewer, the posterior is the mean of their
    target masses (ours).

    Args:
        voters: at least one.
        threshold: a head votes for the samples whose target mass is above it.
    """
    mass = np.stack([split.mass for split in voters], 1)
    votes = mass > threshold
    return votes, dawid_skene(votes) if len(voters) >= FEWEST else mass.mean(1)


def dawid_skene(votes: np.ndarray, rounds: int = 100, tolerance: float = 1e-6) -> np.ndarray:
    """Weigh voters by how well they agree, with the EM algorithm of Dawid and Skene (1979) for two classes.

    Each voter h has a chance to vote for a target (sensitivity) and for another sample (false alarm). E step: the
    posterior of each sample, from the prior and the chances. M step: prior and chances, from posteriors as counts, with
    `PRIOR` votes of each kind added. It starts at the fraction of votes of each sample.

    Args:
        votes: bool ``[N, H]``, of H voters, at least one, on N samples.
        rounds: most iterations.
        tolerance: largest change of a posterior at which it ends.

    Returns:
        Posterior probability of the target class, ``[N]`` in ``[0, 1]``.
    """
    votes = np.asarray(votes, dtype=np.float64)
    posterior = votes.mean(1)
    for _ in range(rounds):
        hits = _chances(votes, posterior)
        alarms = _chances(votes, 1 - posterior)
        prior = (posterior.sum() + PRIOR) / (len(votes) + 2 * PRIOR)
        odds = np.log(prior / (1 - prior))
        odds = odds + votes @ np.log(hits / alarms) + (1 - votes) @ np.log((1 - hits) / (1 - alarms))
        before, posterior = posterior, 1 / (1 + np.exp(-odds.clip(-500, 500)))
        if np.abs(posterior - before).max() <= tolerance:
            break
    return np.asarray(posterior)


def _chances(votes: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Return how often each voter votes for samples of these weights ``[N]``: ``[H]`` in ``(0, 1)``."""
    return np.asarray((weight @ votes + PRIOR) / (weight.sum() + 2 * PRIOR))


def best_heads(splits: Mapping[Place, HeadSplit | None], count: int, max_overlap: float) -> dict[Place, HeadSplit]:
    """Return at most `count` heads with the highest separation and an overlap up to `max_overlap`, the best first."""
    apart = [(place, split) for place, split in splits.items() if split is not None and split.overlap <= max_overlap]
    return dict(sorted(apart, key=lambda each: each[1].overlap)[:count])
