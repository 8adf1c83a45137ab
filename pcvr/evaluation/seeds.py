"""A rate over the seeds of one cell: each seed is shown, and none is pooled with another."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pcvr.evaluation.intervals import at_most, format_rate, wilson


@dataclass(frozen=True)
class SeedRates:
    """A rate over the seeds of one cell; the seeds are never pooled.

    Attributes:
        hits: hits of each seed.
        n: triggered test samples of each seed.
        seeds: the seeds.
    """

    hits: tuple[int, ...]
    n: tuple[int, ...]
    seeds: tuple[int, ...]

    @property
    def rates(self) -> tuple[float, ...]:
        """The rate of each seed, 0 to 1."""
        return tuple(hits / n for hits, n in zip(self.hits, self.n, strict=True))

    @property
    def mean(self) -> float:
        """The mean of the seeds' rates."""
        return float(np.mean(self.rates))

    @property
    def wilson(self) -> list[tuple[float, float]]:
        """The 95 % Wilson interval of each seed; of zero hits its upper end is `at_most`, below 3/n."""
        return [wilson(hits, n) if hits else (0.0, at_most(n)) for hits, n in zip(self.hits, self.n, strict=True)]

    @property
    def interval(self) -> tuple[float, float] | None:
        """The 95 % t interval of the mean over seeds, cut to [0, 1]; None for one seed, or where no seed differs.

        It says what other seeds would give on these test samples. Of seeds that all agree it would have no width.
        """
        return over_seeds(self.rates, 0.0, 1.0)

    @property
    def bound(self) -> float:
        """The highest upper end of a seed's own interval."""
        return max(high for _, high in self.wilson)

    def __str__(self) -> str:
        if len(self.hits) == 1:
            return format_rate(self.hits[0], self.n[0])
        if not any(self.hits):
            return f"< {100 * self.bound:.1f} % in each of {len(self.hits)} seeds (0 of {min(self.n)})"
        each = " / ".join(f"{100 * rate:.1f}" for rate in self.rates)
        if self.interval is None:
            return f"{100 * self.mean:.1f} % in each of {len(self.hits)} seeds"
        low, high = self.interval
        return f"{100 * self.mean:.1f} % [{100 * low:.0f}, {100 * high:.0f}] over seeds {each}"


def over_seeds(values: Sequence[float], low: float = -np.inf, high: float = np.inf) -> tuple[float, float] | None:
    """Return the 95 % t interval of the mean of one value a seed, cut to a range.

    Args:
        values: a value for each seed.
        low: least possible value.
        high: greatest possible value.

    Returns:
        The ends; None for fewer than two seeds, or where all values are equal.
    """
    if len(values) < 2 or np.ptp(values) == 0:
        return None
    from scipy.stats import sem, t

    ends = t.interval(0.95, len(values) - 1, loc=np.mean(values), scale=sem(values))
    return max(low, float(ends[0])), min(high, float(ends[1]))
