"""Histograms of a model's answers over fixed bins, clean and triggered: small enough for a table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from pcvr.analysis.invariance import Invariance, measure_invariance
from pcvr.defenses.losses import LN2
from pcvr.defenses.pcvr.defense import PCVR
from pcvr.errors import PcvrError
from pcvr.utils.checks import check_choice
from pcvr.views import PatchView

if TYPE_CHECKING:
    from pcvr.attacks import Attack
    from pcvr.data.sample import Dataset
    from pcvr.experiments.results import Table
    from pcvr.training import FinetuneResult


@dataclass(frozen=True)
class Bins:
    """Bins for one figure of a `pcvr.analysis.invariance.Invariance`.

    Attributes:
        label: name of the figure, with its unit.
        edges: ``[K + 1]``, ascending; values outside are counted in the outermost bins.
        log: whether the axis is logarithmic.
    """

    label: str
    edges: tuple[float, ...]
    log: bool = False

    def count(self, values: np.ndarray) -> list[int]:
        """Count how many of the values ``[N]``, all finite, lie in each of the K bins."""
        inside = np.clip(np.asarray(values, dtype=float), self.edges[0], self.edges[-1])
        return [int(n) for n in np.histogram(inside, self.edges)[0]]


def _evenly(high: float, unit: str) -> Bins:
    return Bins(unit, tuple(np.linspace(0, high, 21).tolist()))


ANSWER_BINS: dict[str, Bins] = {
    "target": _evenly(1, "probability of the whole target"),
    "entropy": _evenly(2, "entropy of the own answer (nats per token)"),
    "divergence": _evenly(LN2, "cross-view divergence of the own answer (nats per token)"),
}
"""Bins of the table ``"distributions"``, by the name of the figure."""

Histograms = Mapping[str, Mapping[str, Mapping[str, list[int]]]]
"""Attack to ``"undefended"`` or ``"defended"`` to ``"clean"`` or ``"triggered"`` to counts."""


def pixel_view() -> PatchView:
    """Return PCVR's view on pixels: test images have no stored tower features, and the view can be shown."""
    return replace(PCVR().view, level="pixels")


def count_answers(
    result: FinetuneResult, tests: Dataset, attack: Attack, view: PatchView, bins: Mapping[str, Bins]
) -> dict[str, dict[str, list[int]]]:
    """Measure a model's answers to clean and to triggered images, and count them.

    Args:
        result: what was trained.
        tests: clean test samples, at least two.
        attack: puts the trigger on and names the target.
        view: divergences are taken between an image and this view of it.
        bins: figure to bins.

    Returns:
        ``"clean"`` and ``"triggered"`` to figure to counts.
    """
    found = {}
    for kind in ("clean", "triggered"):
        values = measure_invariance(result.model, tests, attack, view, shown=kind)
        found[kind] = {figure: each.count(getattr(values, figure)) for figure, each in bins.items()}
    return found


def distributions(result: FinetuneResult, tests: Dataset, attack: Attack) -> dict[str, Any]:
    """Return what a run keeps for the table ``"distributions"``; for the argument `extra` of `run_experiment`."""
    return {"distributions": count_answers(result, tests, attack, pixel_view(), ANSWER_BINS)}


def histograms_of(table: Table, task: str, figure: str) -> Histograms:
    """Return one figure of a table of runs that kept `distributions`, for one task.

    Args:
        table: from ``pcvr.experiments.results.load("distributions")``.
        task: name of the task.
        figure: a key of `ANSWER_BINS`.

    Raises:
        PcvrError: an unknown figure.
    """
    check_choice("figure of a histogram", figure, ANSWER_BINS)
    found: dict[str, dict[str, dict[str, list[int]]]] = {}
    for run in table.runs:
        said = run["experiment"]
        if said["task"] == task:
            kinds = {kind: each[figure] for kind, each in run["distributions"].items()}
            found.setdefault(said["attack"], {})[said["label"]] = kinds
    return found


def chance_of_lower(first: Sequence[int], second: Sequence[int]) -> float:
    """Return the probability that a value of the first histogram is lower than one of the second; ties count half.

    Args:
        first: counts ``[K]``, at least one value.
        second: counts over the same bins.

    Returns:
        0 to 1; 0.5 if the two are alike. Values in the same bin count as equal.

    Raises:
        PcvrError: the histograms have other bins, or one is empty.
    """
    one, other = np.asarray(first, dtype=float), np.asarray(second, dtype=float)
    if one.shape != other.shape or not one.sum() or not other.sum():
        raise PcvrError("first and second must be counts over the same bins, each of at least one value.")
    above = other.sum() - np.cumsum(other) + other / 2
    return float((one * above).sum() / (one.sum() * other.sum()))


def local_histograms(
    attack: str, spreads: Mapping[tuple[str, str], Invariance], stages: Mapping[str, str], figure: str
) -> Histograms:
    """Return the same for models at hand, for one attack.

    Args:
        attack: its name.
        spreads: ``(stage, "clean" | "triggered")`` to `Invariance`.
        stages: title of each column to the stage that it shows, such as ``{"undefended": "backdoored"}``.
        figure: a key of `ANSWER_BINS`.

    Raises:
        PcvrError: an unknown figure.
    """
    check_choice("figure of a histogram", figure, ANSWER_BINS)
    bins = ANSWER_BINS[figure]
    return {
        attack: {
            title: {
                shown: bins.count(getattr(values, figure)) for (name, shown), values in spreads.items() if name == stage
            }
            for title, stage in stages.items()
        }
    }
