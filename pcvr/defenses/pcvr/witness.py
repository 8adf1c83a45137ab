"""The witness: can suspicious samples be told from others by their inputs alone?

A backdoor has to be learned from the poisoned samples, through the frozen tower. Whatever the model could learn to
recognise there, a small classifier can learn sooner. So the samples with the least expected labels are set against
others, and a ridge regression on what the tower made of their images tries to tell them apart. Where it can, there is
something in these images that the others lack: a trigger. Where it cannot, the labels are hard or new, and no trigger
goes with them (ours; kin to activation clustering, arXiv 1811.03728, and spectral signatures, arXiv 1811.00636, which
look at the activations of a model that has learned the backdoor).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

RIDGE = 3.0
"""Strength of the regularisation, in units of the mean squared feature."""
PASSED = 0.03
"""Fraction of the other samples that may score as high as a suspicious sample that counts as told apart. Hard samples
differ a little from easy ones, and a tenth of the others would hide that; a trigger sets a sample far apart."""
CHANCE = 1e-5
"""Largest probability of as many told apart by chance: the witness is heard some fifty times in a training."""
FAR = 2.5
"""Robust standard deviations above the others' median below which no sample looks like the suspicious ones."""
DOUBT = (1e-3, 0.12)
"""With a probability of chance below this, and this fraction told apart, a witness that is not convinced does not say
that there is nothing."""
SMALLEST = 0.15
"""Least fraction of the suspicious samples that must be told apart."""


@dataclass
class Witness:
    """A ridge regression of suspicion on inputs.

    Attributes:
        mean: ``[D]``, of the inputs.
        scale: ``[D]``, standard deviations of the inputs.
        weights: ``[D]``.
        threshold: score from which a sample looks like the suspicious ones.
        told_apart: fraction of the suspicious samples that score higher than all but `PASSED` of the others, each
            scored by a regression without itself.
        chance: probability of as many by chance.
        suspicious: number of suspicious samples that it was fitted to.
    """

    mean: np.ndarray
    scale: np.ndarray
    weights: np.ndarray
    threshold: float
    told_apart: float
    chance: float
    suspicious: int

    @property
    def width(self) -> int:
        """Columns of an input."""
        return len(self.mean)

    def score(self, inputs: np.ndarray) -> np.ndarray:
        """Return how much each input looks like the suspicious ones: ``[B, D]`` -> ``[B]``, about -1 to 1."""
        found: np.ndarray = ((inputs.astype(np.float32) - self.mean) / self.scale) @ self.weights
        return found

    def recognises(self, inputs: np.ndarray) -> np.ndarray:
        """Return which inputs look like the suspicious ones: ``[B, D]`` -> bool ``[B]``."""
        return np.asarray(self.score(inputs) > self.threshold)

    @property
    def convinced(self) -> bool:
        """Whether the suspicious samples differ from the others in their inputs."""
        return self.chance < CHANCE and self.told_apart >= SMALLEST

    @property
    def doubtful(self) -> bool:
        """Whether there may be a difference; more samples will show."""
        chance, fraction = DOUBT
        return self.chance < chance and self.told_apart >= fraction

    @property
    def hits(self) -> int:
        """Number of suspicious samples that were told apart."""
        return round(self.told_apart * self.suspicious)


def hear(inputs: np.ndarray, groups: Sequence[np.ndarray], others: np.ndarray) -> list[tuple[Witness, np.ndarray]]:
    """Fit the regression for each group of suspicious samples, and score each of them by one that has not seen it.

    Args:
        inputs: ``[N, D]``, of all samples.
        groups: rows of the suspicious samples, ``[S]`` each.
        others: rows of the others, ``[O]``.

    Returns:
        For each group the witness, and whether each of its samples was told apart: bool ``[S]``.
    """
    from scipy.stats import binom

    inputs = inputs.astype(np.float32)
    mean, scale = inputs.mean(0), np.concatenate([part.std(0) for part in _blocks(inputs)])
    scale = np.maximum(scale, 1e-3 * scale.max() + 1e-9)
    inputs -= mean  # in place: these are the levels of hundreds of images
    inputs /= scale
    columns = inputs.shape[1]
    # The groups lie within each other, so their kernels do too; with few columns none is needed.
    kernel = None if columns < len(others) else (inputs @ inputs.T).astype(np.float64) / columns
    found = []
    for group in groups:
        rows = np.concatenate([group, others])
        truth = np.arange(len(rows)) < len(group)
        if kernel is None:
            dual, alone = ridge_of_few(inputs[rows].astype(np.float64) / columns**0.5, truth)
        else:
            dual, alone = ridge(kernel[np.ix_(rows, rows)], truth)
        weights = inputs[rows].T @ dual.astype(np.float32) / columns
        middle, hit = np.median(alone[~truth]), alone[truth] > np.quantile(alone[~truth], 1 - PASSED)
        spread = 1.4826 * float(np.median(np.abs(alone[~truth] - middle)))
        likely = float(np.median(alone[truth][hit])) if hit.any() else np.inf
        witness = Witness(
            mean,
            scale,
            weights,
            threshold=float(max(middle + FAR * spread, 0.6 * middle + 0.4 * likely)),
            told_apart=float(hit.mean()),
            chance=float(binom.sf(int(hit.sum()) - 1, len(group), PASSED)),
            suspicious=len(group),
        )
        found.append((witness, hit))
    return found


def _blocks(inputs: np.ndarray, columns: int = 4096) -> list[np.ndarray]:
    """Return an array ``[N, D]`` in blocks of columns, without a copy: NumPy needs less memory for each of them."""
    return [inputs[:, start : start + columns] for start in range(0, inputs.shape[1], columns)]


def ridge(kernel: np.ndarray, truth: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Solve the ridge regression of ±1 in its dual form, both classes of equal weight.

    Args:
        kernel: float64 ``[N, N]``, inner products of centred and scaled inputs, divided by their number of columns.
        truth: bool ``[N]``, with at least one of each.

    Returns:
        The dual weights ``[N]``, and for each sample the score that the regression without it would give it, ``[N]``:
        with ``H = K (K + R)^-1``, ``R`` the diagonal of penalties, and the fit ``f = H y`` that is
        ``(f - h y) / (1 - h)``, ``h`` the diagonal of ``H``. Since ``H = 1 - R A`` with ``A = (K + R)^-1``, that is
        ``y - A y / a``, ``a`` the diagonal of ``A``.
    """
    from scipy.linalg.lapack import dpotrf, dpotri

    wanted, penalty = _classes(truth)
    factor, wrong = dpotrf(kernel + np.diag(penalty), lower=1)
    lower, wrong = dpotri(factor, lower=1) if not wrong else (factor, wrong)
    if wrong:
        raise FloatingPointError(f"the kernel of {len(truth)} samples is not positive")
    inverse = np.tril(lower) + np.tril(lower, -1).T
    dual = inverse @ wanted
    return dual, wanted - dual / np.diag(inverse)


def ridge_of_few(inputs: np.ndarray, truth: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return what `ridge` returns for the kernel ``X X'``, by inverting a matrix of the columns' size (Woodbury).

    Args:
        inputs: float64 ``[N, D]``, ``X``, with few columns.
        truth: bool ``[N]``, with at least one of each.
    """
    wanted, penalty = _classes(truth)
    scaled = inputs / penalty[:, None]
    turned = scaled @ np.linalg.inv(np.eye(inputs.shape[1]) + inputs.T @ scaled)
    dual = wanted / penalty - turned @ (scaled.T @ wanted)
    return dual, wanted - dual / (1 / penalty - (turned * scaled).sum(1))


def _classes(truth: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return ±1 of each sample and its penalty: ``[N]`` each."""
    weight = len(truth) / (2.0 * np.where(truth, truth.sum(), (~truth).sum()))
    return np.where(truth, 1.0, -1.0), RIDGE / weight
