"""How sure a measured rate is."""

from __future__ import annotations

from pcvr.errors import PcvrError
from pcvr.utils.checks import is_number, is_whole


def wilson(hits: int, n: int, confidence: float = 0.95) -> tuple[float, float]:
    """Wilson score interval of a proportion (Wilson 1927), without continuity correction.

    Args:
        hits: successes, 0 to n.
        n: trials, at least 1.
        confidence: coverage, in (0, 1).

    Returns:
        Lower and upper end, both in [0, 1].

    Raises:
        PcvrError: for counts or a confidence out of range.
    """
    _check(hits, n, confidence)
    from scipy.stats import binomtest

    interval = binomtest(int(hits), int(n)).proportion_ci(confidence_level=confidence, method="wilson")
    # Rounding leaves 1e-19 where the formula gives exactly 0 (or 1 - 1e-16 where it gives 1).
    low = 0.0 if hits == 0 else float(interval.low)
    high = 1.0 if hits == n else float(interval.high)
    return low, high


def at_most(n: int, confidence: float = 0.95) -> float:
    """The rate that no hit in ``n`` trials still allows: one-sided exact bound, ``1 - (1 - confidence) ** (1 / n)``.

    At 95 % this is the rule of three, below ``3 / n``. It is what stands in place of "0 %".

    Raises:
        PcvrError: for ``n`` below 1 or a confidence out of range.
    """
    _check(0, n, confidence)
    return float(1 - (1 - confidence) ** (1 / n))


def format_rate(hits: int, n: int, confidence: float = 0.95) -> str:
    """A rate as it should be printed: ``"98.0 % [96.4, 98.9]"`` with its Wilson interval, or, since no hit in n trials
    never means 0 %, ``"< 0.6 % (0 of 512)"``. Errors as :func:`wilson`."""
    if hits == 0:
        return f"< {100 * at_most(n, confidence):.1f} % (0 of {n})"
    low, high = wilson(hits, n, confidence)
    return f"{100 * hits / n:.1f} % [{100 * low:.1f}, {100 * high:.1f}]"


def errors_apart(hits: int, n: int, other_hits: int, other_n: int) -> float:
    """How far a rate lies above another one, in standard errors of their difference (pooled two-proportion z).

    ``(p - q) / sqrt(r (1 - r) (1 / n + 1 / m))`` with the pooled rate ``r``; 0 if `r` is 0 or 1. It speaks of other
    test samples alone: another seed of the training differs by more. Errors as :func:`wilson`.

    Args:
        hits: successes of the first rate, 0 to n.
        n: its trials, at least 1.
        other_hits: successes of the second rate.
        other_n: its trials.
    """
    _check(hits, n, 0.95)
    _check(other_hits, other_n, 0.95)
    pooled = (hits + other_hits) / (n + other_n)
    if pooled in (0, 1):
        return 0.0
    return float((hits / n - other_hits / other_n) / (pooled * (1 - pooled) * (1 / n + 1 / other_n)) ** 0.5)


class AttackRate:
    """Base of what counts `hits` in `n` triggered inputs: the attack success rate and its interval."""

    hits: int
    n: int

    @property
    def asr(self) -> float:
        """Attack success rate, 0 to 1."""
        return self.hits / self.n

    @property
    def interval(self) -> tuple[float, float]:
        """95 % Wilson interval of the attack success rate."""
        return wilson(self.hits, self.n)


def _check(hits: int, n: int, confidence: float) -> None:
    for name, value in (("hits", hits), ("n", n)):
        if not is_whole(value):
            raise PcvrError(f"{name} is {value!r}: give a whole number.")
    if n < 1 or not 0 <= hits <= n:
        raise PcvrError(f"{hits} hits in {n} trials: give at least one trial, and hits from 0 to n.")
    if not is_number(confidence) or not 0 < confidence < 1:
        raise PcvrError(f"confidence is {confidence!r}: give a coverage in (0, 1), such as 0.95.")
