"""Bootstrap intervals by image: test images are drawn again with replacement (Efron 1979), answers stay as they are."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from pcvr.errors import PcvrError
from pcvr.evaluation.text import bleu_counts, cider_each
from pcvr.tasks import get_task

if TYPE_CHECKING:
    from pcvr.data.sample import Dataset
    from pcvr.evaluation.record import Record

RESAMPLES = 2000
"""Draws of a bootstrap (our choice): the ends of an interval then vary by about a fortieth of its length."""
_TINY, _SMALL = 1e-15, 1e-9  # pycocoevalcap adds them to counts that may be zero


def by_image(
    statistic: Callable[[np.ndarray], np.ndarray], n: int, confidence: float = 0.95, seed: int = 0
) -> tuple[float, float]:
    """Return the percentile interval of a figure that depends on N images.

    Args:
        statistic: takes numbers of images ``[draws, N]``, each 0 to N - 1, and returns the figure of each draw
            ``[draws]``.
        n: number of images, N, at least 2.
        confidence: coverage, in (0, 1).
        seed: of the draws.

    Raises:
        PcvrError: fewer than two images.
    """
    if n < 2:
        raise PcvrError(f"n is {n}: a bootstrap by image needs at least 2 images.")
    from scipy.stats import bootstrap

    found = bootstrap(
        (np.arange(n),),
        lambda rows, axis=-1: statistic(np.atleast_2d(rows)).reshape(np.shape(rows)[:-1]),
        n_resamples=RESAMPLES,
        batch=200,  # of the draws at a time: little memory
        vectorized=True,
        confidence_level=confidence,
        method="percentile",
        random_state=np.random.default_rng(seed),
    )
    return float(found.confidence_interval.low), float(found.confidence_interval.high)


def mean_interval(values: Sequence[float] | np.ndarray, confidence: float = 0.95, seed: int = 0) -> tuple[float, float]:
    """Return the bootstrap interval of the mean of one value an image, ``[N]``; errors as :func:`by_image`."""
    each = np.asarray(values, dtype=float)
    return by_image(lambda rows: each[rows].mean(axis=-1), len(each), confidence, seed)


def cider_interval(
    predictions: Sequence[str], references: Sequence[Sequence[str]], confidence: float = 0.95, seed: int = 0
) -> tuple[float, float]:
    """Return the interval of :func:`pcvr.evaluation.text.cider`; n-grams keep the weights that all images give."""
    return mean_interval(cider_each(predictions, references), confidence, seed)


def bleu4_interval(
    predictions: Sequence[str], references: Sequence[Sequence[str]], confidence: float = 0.95, seed: int = 0
) -> tuple[float, float]:
    """Return the interval of :func:`pcvr.evaluation.text.bleu4`: of each draw, the score of the corpus drawn."""
    counts = bleu_counts(predictions, references)
    return by_image(lambda rows: bleu4_of(counts[rows].sum(axis=-2)), len(counts), confidence, seed)


def bleu4_of(sums: np.ndarray) -> np.ndarray:
    """Return corpus BLEU-4, 0 to 100, ``[...]`` from the sums over a corpus of `bleu_counts`, ``[..., 10]``."""
    guessed, correct, length, reference = sums[..., :4], sums[..., 4:8], sums[..., 8], sums[..., 9]
    score = ((correct + _TINY) / (guessed + _SMALL)).prod(axis=-1) ** 0.25
    ratio = (length + _TINY) / (reference + _SMALL)
    return 100 * score * np.exp(np.minimum(0.0, 1 - 1 / ratio))


def record_intervals(record: Record, tests: Dataset) -> dict[str, list[float]]:
    """Return the intervals of CIDEr and BLEU-4 on clean inputs, by the metric's name, where the record has them.

    Args:
        record: of the evaluation of `tests`, with its answers.
        tests: N samples with references.
    """
    from pcvr.data.asked import bare_samples

    wanted = {"cider": cider_interval, "bleu4": bleu4_interval}
    wanted = {name: make for name, make in wanted.items() if name in get_task(record.task).metrics}
    if not wanted:
        return {}
    references = [sample.references or (sample.answer,) for sample in bare_samples(tests)]
    said = record.answers["clean"]
    return {name: [round(end, 2) for end in make(said, references)] for name, make in wanted.items()}
