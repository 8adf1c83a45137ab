"""What is kept of one training of a grid: attack success, utility, training curves, and histograms of its answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from pcvr.errors import PcvrError
from pcvr.evaluation.intervals import AttackRate
from pcvr.evaluation.metrics import Scores, get_metric, headline
from pcvr.experiments.histograms import Bins, count_answers
from pcvr.experiments.stored import stored_experiment
from pcvr.tasks import get_task
from pcvr.utils.renamed import accepts_old_names

if TYPE_CHECKING:
    from pcvr.attacks import Attack
    from pcvr.data.sample import Dataset
    from pcvr.training import FinetuneResult
    from pcvr.views import PatchView

KnobValues = tuple[tuple[str, float], ...]
"""Option and value of a defence, in the order of the knobs; empty where there is no defence."""

IMAGES = 48
"""Test images whose answers are measured, each clean and triggered."""
SKIPPED = ("learning_rate", "grad_norm", "epoch", "step")
"""Entries of a training history that say nothing about the defence."""

GRID_BINS: dict[str, Bins] = {
    # Half a decade a bin; a clean caption gives the target less than 1e-8, and how much less does not matter.
    "target": Bins(
        "probability of the whole target", tuple(float(f"{10.0**e:.4g}") for e in np.arange(-8, 0.5, 0.5)), log=True
    ),
    "divergence": Bins("divergence of image and view (nats)", tuple(round(0.05 * k, 2) for k in range(15))),
}
"""Bins of the histograms that a point keeps, by the name of the figure."""


@dataclass(frozen=True)
class Case:
    """The setting of an attack; points of different cases are not compared.

    Attributes:
        attack: name of the attack.
        task: name of the task.
        model: embedded name, folder or hub id.
        data: what `pcvr.open_data` takes.
    """

    attack: str
    task: str
    model: str
    data: str = "scenes"

    def __str__(self) -> str:
        data = "" if self.data == "scenes" else f", {self.data}"
        return f"{self.attack}, {self.task}, {self.model}{data}"


@accepts_old_names
@dataclass(frozen=True)
class GridPoint(AttackRate):
    """One training and its results.

    Attributes:
        label: name for figures.
        case: what was attacked.
        setting: the defence's options that the grid varies.
        hits: triggered test images answered with the target.
        clean_hits: clean test images answered with the target.
        n: test images that the attacker aims at.
        clean: utility on clean images.
        triggered: utility on triggered images.
        history: figure to its values over training, ``"step"`` among them; None where a step lacks the figure.
        watch: attack success while training, see `pcvr.experiments.experiment.report`.
        gate: how the gate did, see `pcvr.experiments.gate_report.gate_report`.
        spreads: key of `GRID_BINS` to ``{"edges": [K + 1], "clean": [K], "triggered": [K]}``.
        seconds: wall time of the fine-tuning, evaluations of the watch included.
        samples: training samples.
        tests: test samples.
        max_steps: optimiser steps.
        seed: of the training.
        here: whether the reader trained it; shipped points are False.
    """

    RENAMED: ClassVar[Mapping[str, str]] = {"steps": "max_steps"}

    label: str
    case: Case
    setting: KnobValues
    hits: int
    clean_hits: int
    n: int
    clean: Scores
    triggered: Scores
    history: Mapping[str, Sequence[float | None]]
    watch: Sequence[Mapping[str, Any]]
    gate: Sequence[Mapping[str, Any]]
    spreads: Mapping[str, Mapping[str, Sequence[float]]]
    seconds: float
    samples: int
    tests: int
    max_steps: int
    seed: int
    here: bool = False

    @property
    def measure(self) -> str:
        """Name of the metric that is drawn as utility."""
        return headline(get_task(self.case.task), self.clean)

    @property
    def utility(self) -> float:
        """That metric on clean images; fractions in per cent."""
        return shown_as(self.measure, self.clean)

    @property
    def triggered_utility(self) -> float:
        """The same on triggered images."""
        return shown_as(self.measure, self.triggered)

    @property
    def utility_label(self) -> str:
        """Label of the utility axis."""
        metric = get_metric(self.measure)
        return f"{metric.label} (%)" if metric.share else metric.label


def shown_as(measure: str, scores: Mapping[str, float]) -> float:
    """Return a metric as it is drawn: fractions in per cent."""
    return 100 * scores[measure] if get_metric(measure).share else scores[measure]


def point_of(run: Mapping[str, Any], setting: KnobValues, here: bool = False) -> GridPoint:
    """Return the point of a run from `pcvr.experiments.grid.run_point` or a shipped table.

    Raises:
        PcvrError: the run lacks what only `run_point` keeps.
    """
    if missing := sorted({"history", "spreads", "watch"} - set(run)):
        raise PcvrError(
            f"the run {run['experiment']['label']!r} has no {', '.join(missing)}: make it with run_grid(), not sweep()."
        )
    said, record = stored_experiment(run["experiment"]), run["record"]
    return GridPoint(
        label=said["label"],
        case=Case(said["attack"], said["task"], said["model"], said["data"]),
        setting=setting,
        hits=record["hits"],
        clean_hits=record["clean_hits"],
        n=record["aimed"] or record["n"],
        clean=record["clean"],
        triggered=record["triggered"],
        history=run["history"],
        watch=run["watch"],
        gate=run["gate"],
        spreads=run["spreads"],
        seconds=run["seconds"],
        samples=said["samples"],
        tests=record["n"],
        max_steps=said["max_steps"],
        seed=said["seed"],
        here=here,
    )


def point_extras(result: FinetuneResult, tests: Dataset, attack: Attack) -> dict[str, Any]:
    """Return history and histograms of a training, small enough to ship: an `Extra` of `run_experiment`."""
    from pcvr.data.subset import subset

    return {
        "history": history_columns(result.history),
        "spreads": point_histograms(result, subset(tests, min(IMAGES, len(tests))), attack),
    }


def history_columns(history: Sequence[Mapping[str, float]]) -> dict[str, list[float | None]]:
    """Return a training history by figure, to four digits, without the entries in `SKIPPED`."""
    names = dict.fromkeys(name for entry in history for name in entry if name not in SKIPPED)
    found: dict[str, list[float | None]] = {"step": [entry["step"] for entry in history]}
    return found | {name: [_rounded(entry.get(name)) for entry in history] for name in names}


def _rounded(value: float | None) -> float | None:
    return None if value is None else float(f"{value:.4g}")


def grid_view() -> PatchView:
    """Return the view through which divergences are taken: the same for all points, whatever their defence uses."""
    from pcvr.views import PatchView

    return PatchView("swap", 0.6)


def point_histograms(result: FinetuneResult, tests: Dataset, attack: Attack) -> dict[str, dict[str, list[float]]]:
    """Return how two figures of the answers are distributed, as in `GridPoint.spreads`.

    ``"target"`` is the probability of the attacker's whole target, word for word to its end; ``"divergence"`` is the
    mean Jensen-Shannon divergence between an image and one view of it, along the model's own answer. Arguments as for
    `pcvr.experiments.histograms.count_answers`.
    """
    counts = count_answers(result, tests, attack, grid_view(), GRID_BINS)
    return {
        figure: {"edges": [*bins.edges]} | {kind: [*each[figure]] for kind, each in counts.items()}
        for figure, bins in GRID_BINS.items()
    }
