"""What a study may conclude: each seed shown, intervals over seeds, paired differences, and Holm over attacks."""

from __future__ import annotations

import gc
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

from pcvr.errors import PcvrError, shown
from pcvr.evaluation.intervals import at_most
from pcvr.evaluation.seeds import SeedRates
from pcvr.experiments.outcomes import unpack

TOOK = 0.9
"""Attack success without a defence below which nothing is said about a defence: the attack did not take."""
_DRAWS = 20_000
SAME_TESTS = ("model", "data", "task", "split", "tests", "attack", "preset", "attack_options")
"""Fields in which two runs agree if their test samples and triggers are the same ones."""


@dataclass(frozen=True)
class Paired:
    """The difference of two runs on the same test samples.

    Attributes:
        n: samples that count in both.
        only_first: samples with the outcome in the first run alone.
        only_second: in the second run alone.
        interval: 95 % bootstrap interval by image of `difference`; if no sample differs, or all do in one direction,
            what n such samples allow.
        p: exact McNemar test of no difference, two-sided.
    """

    n: int
    only_first: int
    only_second: int
    interval: tuple[float, float]
    p: float

    @property
    def difference(self) -> float:
        """Rate of the first run minus that of the second, -1 to 1."""
        return (self.only_first - self.only_second) / self.n


def paired(first: Mapping[str, Any], second: Mapping[str, Any], outcome: str = "hit") -> Paired:
    """Return the difference of two runs, sample by sample.

    Args:
        first: a row of `Store.read`, as a mapping.
        second: another one, on the same test samples under the same attack.
        outcome: ``"hit"``, ``"clean_hit"``, ``"right"`` or ``"triggered_right"``; hits count where the attack aims.

    Raises:
        PcvrError: the runs have other test samples, or one of them kept no outcomes (runs of older tables).
    """
    apart = [name for name in SAME_TESTS if first[name] != second[name]]
    if apart:
        raise PcvrError(f"the runs {first['key']} and {second['key']} differ in {', '.join(apart)}: they make no pair.")
    kept = [_bits(run, outcome) for run in (first, second)]
    counted = np.ones(len(kept[0]), dtype=bool)
    if outcome in ("hit", "clean_hit"):
        counted = _bits(first, "aimed") & _bits(second, "aimed")
    one, other = (bits[counted] for bits in kept)
    both, neither = int((one & other).sum()), int((~one & ~other).sum())
    only_first, only_second = int((one & ~other).sum()), int((~one & other).sum())
    from statsmodels.stats.contingency_tables import mcnemar

    n = len(one)
    p = float(mcnemar([[both, only_first], [only_second, neither]], exact=True).pvalue)
    return Paired(n, only_first, only_second, _difference_interval(n, only_first, only_second), min(1.0, p))


@cache
def _difference_interval(n: int, first: int, second: int) -> tuple[float, float]:
    """The bootstrap interval by image of `Paired.difference`, at 95 %.

    Drawing n images again with replacement draws the three kinds of image (first alone, second alone, the rest) from a
    multinomial distribution; this is the same and a hundred times faster.
    """
    if not first and not second:
        return -at_most(n), at_most(n)
    # Draws from samples that are all of one kind never differ.
    if first == n:
        return 1 - at_most(n), 1.0
    if second == n:
        return -1.0, -(1 - at_most(n))
    kinds = np.array([first, second, n - first - second]) / n
    drawn = np.random.default_rng(0).multinomial(n, kinds, size=_DRAWS)
    low, high = np.quantile((drawn[:, 0] - drawn[:, 1]) / n, [0.025, 0.975])
    return float(low), float(high)


def _bits(run: Mapping[str, Any], outcome: str) -> np.ndarray:
    packed = run.get(f"bits_{outcome}")
    if not isinstance(packed, str):
        raise PcvrError(
            f"the run {run['key']} kept no outcome {shown(outcome)} of its samples: make it again for pairs."
        )
    return unpack({outcome: packed}, int(run["tests"]))[outcome]


def paired_over_seeds(
    first: Sequence[Mapping[str, Any]], second: Sequence[Mapping[str, Any]], outcome: str = "hit"
) -> tuple[list[Paired], float]:
    """Return the difference for each seed that both cells have, and a p-value of "it is there in every seed".

    That p-value is the greatest of the seeds' (an intersection-union test, Berger 1982; our choice). It is 1 unless the
    differences of all seeds have the same sign: two seeds that contradict each other show no difference.

    Raises:
        PcvrError: as `paired`, or if the cells have no seed in common.
    """
    others = {run["seed"]: run for run in second}
    found = [paired(run, others[run["seed"]], outcome) for run in first if run["seed"] in others]
    if not found:
        raise PcvrError("the two cells have no seed in common: run the same seeds of both.")
    one_way = len({int(np.sign(each.difference)) for each in found}) == 1
    return found, max(each.p for each in found) if one_way else 1.0


def holm(p: Sequence[float]) -> list[float]:
    """Return p-values adjusted for their number (Holm 1979), in their order: each at most 1, none below its own."""
    if not len(p):
        return []
    from statsmodels.stats.multitest import multipletests

    gc.freeze()  # multipletests calls the collector of reference cycles, which would walk through everything
    try:
        return [float(value) for value in multipletests(p, method="holm")[1]]
    finally:
        gc.unfreeze()


def took(undefended: SeedRates | None) -> bool | None:
    """Return whether an attack took without a defence: its mean ASR is at least 90 %; None if there is no such run."""
    return None if undefended is None else undefended.mean >= TOOK
