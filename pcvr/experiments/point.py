"""What is kept of one training of a grid: how well it did, its curves, and how its distributions are spread."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from pcvr.errors import PcvrError
from pcvr.evaluation.intervals import wilson
from pcvr.evaluation.metrics import Scores, get_metric, headline
from pcvr.tasks import get_task

if TYPE_CHECKING:
    from pcvr.attacks import Attack
    from pcvr.data.sample import Dataset
    from pcvr.training import FinetuneResult
    from pcvr.views import PatchView

KnobValues = tuple[tuple[str, float], ...]
"""Option and value of a defence, in the order of the knobs; empty where there is no defence."""

PICTURES = 48
"""Test pictures whose distributions are looked at, each clean and triggered."""
SKIPPED = ("learning_rate", "grad_norm", "epoch", "step")
"""Entries of a training history that say nothing of the defence."""


@dataclass(frozen=True)
class Gauge:
    """A figure of single pictures, of that name in `pcvr.analysis.invariance.Invariance`, that is kept as a histogram.

    Attributes:
        label: what it is, with its unit.
        edges: ``[K + 1]``, ascending; what lies outside is counted in the outermost bin.
        log: whether its axis is logarithmic.
    """

    label: str
    edges: tuple[float, ...]
    log: bool = False

    def count(self, values: np.ndarray) -> list[int]:
        """How many of the values ``[N]`` lie in each of the K bins."""
        inside = np.clip(np.asarray(values, dtype=float), self.edges[0], self.edges[-1])
        return [int(n) for n in np.histogram(inside, self.edges)[0]]


GAUGES: dict[str, Gauge] = {
    # Half a decade a bin; a clean caption gives the target less than 1e-8, and how much less is no matter.
    "target": Gauge(
        "probability of the whole target", tuple(float(f"{10.0**e:.4g}") for e in np.arange(-8, 0.5, 0.5)), log=True
    ),
    "divergence": Gauge("divergence of picture and view (nats)", tuple(round(0.05 * k, 2) for k in range(15))),
}


@dataclass(frozen=True)
class Case:
    """What is attacked: points of different cases are not compared.

    Attributes:
        attack: name of the attack.
        task: what is asked of the pictures.
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


@dataclass(frozen=True)
class GridPoint:
    """One training and what came of it.

    Attributes:
        label: what it is called.
        case: what was attacked.
        setting: the defence's options that the grid varies.
        hits: triggered test pictures that gave the target.
        clean_hits: clean ones that gave it all the same.
        n: test pictures that the attacker aims at.
        clean: utility on clean pictures.
        triggered: utility on triggered pictures.
        history: figure to its values over training, ``"step"`` among them; None where a figure was not there yet.
        watch: looks at the backdoor while training, see `pcvr.experiments.experiment.watched`.
        gate: what each scoring found, see `pcvr.experiments.experiment.gate_quality`.
        spreads: key of `GAUGES` to ``{"edges": [K + 1], "clean": [K], "triggered": [K]}``.
        seconds: wall time of the fine-tuning, with the looks of the watch.
        samples: training samples.
        tests: test samples.
        steps: optimiser steps.
        seed: of the training.
        here: whether it was trained by the reader and not shipped.
    """

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
    gate: Sequence[Mapping[str, float]]
    spreads: Mapping[str, Mapping[str, Sequence[float]]]
    seconds: float
    samples: int
    tests: int
    steps: int
    seed: int
    here: bool = False

    @property
    def asr(self) -> float:
        """Attack success rate, 0 to 1."""
        return self.hits / self.n

    @property
    def interval(self) -> tuple[float, float]:
        """95 % Wilson interval of the attack success rate."""
        return wilson(self.hits, self.n)

    @property
    def measure(self) -> str:
        """Name of the metric that stands for utility."""
        return headline(get_task(self.case.task), self.clean)

    @property
    def utility(self) -> float:
        """That metric on clean pictures, as it is drawn: shares in per cent."""
        return shown_as(self.measure, self.clean)

    @property
    def triggered_utility(self) -> float:
        """The same on triggered pictures."""
        return shown_as(self.measure, self.triggered)

    @property
    def utility_label(self) -> str:
        """What the axis of the utility is called."""
        metric = get_metric(self.measure)
        return f"{metric.label} (%)" if metric.share else metric.label


def shown_as(measure: str, scores: Mapping[str, float]) -> float:
    """A metric as it is drawn: shares in per cent."""
    return 100 * scores[measure] if get_metric(measure).share else scores[measure]


def point_of(run: Mapping[str, Any], setting: KnobValues, here: bool = False) -> GridPoint:
    """The point of a run: what `pcvr.experiments.grid.run_point` returned, or a shipped table holds.

    Raises:
        PcvrError: the run lacks what only `run_point` keeps.
    """
    if missing := sorted({"history", "spreads", "watch"} - set(run)):
        raise PcvrError(
            f"the run {run['experiment']['label']!r} has no {', '.join(missing)}: make it with run_grid(), not sweep()."
        )
    said, record = run["experiment"], run["record"]
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
        steps=said["steps"],
        seed=said["seed"],
        here=here,
    )


def extras(result: FinetuneResult, tests: Dataset, attack: Attack) -> dict[str, Any]:
    """History and spreads of what was trained, small enough to ship: an `Extra` of `run_experiment`."""
    from pcvr.data.subset import subset

    return {
        "history": columns(result.history),
        "spreads": spreads(result, subset(tests, min(PICTURES, len(tests))), attack),
    }


def columns(history: Sequence[Mapping[str, float]]) -> dict[str, list[float | None]]:
    """A training history by figure, to four digits, without what says nothing of the defence."""
    names = dict.fromkeys(name for entry in history for name in entry if name not in SKIPPED)
    found: dict[str, list[float | None]] = {"step": [entry["step"] for entry in history]}
    return found | {name: [_rounded(entry.get(name)) for entry in history] for name in names}


def _rounded(value: float | None) -> float | None:
    return None if value is None else float(f"{value:.4g}")


def judge() -> PatchView:
    """The view through which divergences are taken: one for all points, whatever their own defence looked through."""
    from pcvr.views import PatchView

    return PatchView("swap", 0.6)


def spreads(result: FinetuneResult, tests: Dataset, attack: Attack) -> dict[str, dict[str, list[float]]]:
    """How two figures are spread over clean and over triggered pictures, as counts in the bins of `GAUGES`.

    ``"target"``: the probability of the attacker's whole target, word for word to its end. ``"divergence"``: the mean
    Jensen-Shannon divergence between a picture and one view of it, along the model's own answer.

    Args:
        result: of the fine-tuning.
        tests: clean pictures, at least two.
        attack: puts the trigger on and names the target.
    """
    from pcvr.analysis.invariance import measure_invariance

    found: dict[str, dict[str, list[float]]] = {k: {"edges": list(gauge.edges)} for k, gauge in GAUGES.items()}
    for kind in ("clean", "triggered"):
        values = measure_invariance(result.model, tests, attack, judge(), shown=kind)
        for name, gauge in GAUGES.items():
            found[name][kind] = [*gauge.count(getattr(values, name))]
    return found
