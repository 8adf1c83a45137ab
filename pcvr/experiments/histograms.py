"""How a model's answers are spread, small enough for a table: histograms over fixed bins, clean and triggered."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from pcvr.analysis.invariance import Invariance, measure_invariance
from pcvr.defenses.losses import LN2
from pcvr.defenses.pcvr.defense import PCVR
from pcvr.utils.checks import check_choice
from pcvr.views import PatchView

if TYPE_CHECKING:
    from pcvr.attacks import Attack
    from pcvr.data.sample import Dataset
    from pcvr.experiments.results import Table
    from pcvr.training import FinetuneResult

EDGES: dict[str, np.ndarray] = {
    "target": np.linspace(0, 1, 21),
    "entropy": np.linspace(0, 2, 21),
    "divergence": np.linspace(0, LN2, 21),
}
"""Bin edges for each figure of a `pcvr.analysis.invariance.Invariance`; larger values fall in the last."""

XLABELS = {
    "target": "probability of the whole target",
    "entropy": "entropy of the own answer (nats per token)",
    "divergence": "cross-view divergence of the own answer (nats per token)",
}
"""What each figure is, with its unit."""

Histograms = Mapping[str, Mapping[str, Mapping[str, list[int]]]]
"""Attack to ``"undefended"`` or ``"defended"`` to ``"clean"`` or ``"triggered"`` to counts."""


def counts(values: np.ndarray, figure: str) -> list[int]:
    """How many values lie in each bin.

    Args:
        values: ``[N]``, finite.
        figure: a key of `EDGES`.

    Raises:
        PcvrError: an unknown figure.
    """
    check_choice("figure of a histogram", figure, EDGES)
    edges = EDGES[figure]
    found, _ = np.histogram(np.clip(values, edges[0], edges[-1]), edges)
    return [int(count) for count in found]


def compact(values: Invariance) -> dict[str, list[int]]:
    """All histograms of a spread: figure to counts."""
    return {figure: counts(getattr(values, figure), figure) for figure in EDGES}


def pixel_view() -> PatchView:
    """The defence's own view, made of pixels: test pictures have no kept tower features, and readers have eyes."""
    return replace(PCVR().view, level="pixels")


def distributions(result: FinetuneResult, tests: Dataset, attack: Attack) -> dict[str, Any]:
    """What `pcvr.experiments.run_experiment` keeps of a run for the table (its argument `extra`): ``distributions``.

    Args:
        result: what was trained.
        tests: clean test samples.
        attack: whose trigger and target are meant.
    """
    shown = ("clean", "triggered")
    found = {kind: compact(measure_invariance(result.model, tests, attack, pixel_view(), shown=kind)) for kind in shown}
    return {"distributions": found}


def histograms_of(table: Table, task: str, figure: str) -> Histograms:
    """One figure of a table of runs that kept `distributions`, for one task.

    Args:
        table: from ``pcvr.experiments.results.load("distributions")``.
        task: what was asked.
        figure: a key of `EDGES`.
    """
    check_choice("figure of a histogram", figure, EDGES)
    found: dict[str, dict[str, dict[str, list[int]]]] = {}
    for run in table.runs:
        said = run["experiment"]
        if said["task"] == task:
            kinds = {kind: each[figure] for kind, each in run["distributions"].items()}
            found.setdefault(said["attack"], {})[said["label"]] = kinds
    return found


def local_histograms(
    attack: str, spreads: Mapping[tuple[str, str], Invariance], stages: Mapping[str, str], figure: str
) -> Histograms:
    """The same of models at hand, for one attack.

    Args:
        attack: its name.
        spreads: ``(stage, "clean" | "triggered")`` to `Invariance`.
        stages: what a column is called to the stage that it shows, such as ``{"undefended": "backdoored"}``.
        figure: a key of `EDGES`.
    """
    columns = {
        title: {
            shown: counts(getattr(values, figure), figure) for (name, shown), values in spreads.items() if name == stage
        }
        for title, stage in stages.items()
    }
    return {attack: columns}
