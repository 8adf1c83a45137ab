"""The metrics that tasks choose from, each under one name."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pcvr.errors import PcvrError
from pcvr.evaluation.text import bleu4, cider, rouge_l
from pcvr.evaluation.vqa import vqa_accuracy
from pcvr.utils.checks import check_choice

if TYPE_CHECKING:
    from pcvr.data.sample import Sample
    from pcvr.tasks import Task

Scores = dict[str, float]
"""Metric name to value: how good the answers of one pass are."""


@dataclass(frozen=True)
class Metric:
    """One figure of merit; higher is better.

    Attributes:
        label: what tables call it.
        about: what it says, in one line.
        compute: ``(predictions, samples) -> value``, or None where the samples lack the truth it needs.
        share: whether it is a share in [0, 1] (printed in per cent); else a score on its own scale.
    """

    label: str
    about: str
    compute: Callable[[Sequence[str], Sequence[Sample]], float | None]
    share: bool = False

    def format(self, value: float) -> str:
        """The value as a table prints it."""
        return f"{100 * value:.1f} %" if self.share else f"{value:.1f}"


def _references(samples: Sequence[Sample]) -> list[Sequence[str]]:
    return [s.references or (s.answer,) for s in samples]


def _attributes(predictions: Sequence[str], samples: Sequence[Sample]) -> float | None:
    from pcvr.data.scenes import attributes_right

    if not all("objects" in s.facts for s in samples):
        return None
    return sum(attributes_right(t, s.facts) for t, s in zip(predictions, samples, strict=True)) / len(samples)


def _attribute_recall(predictions: Sequence[str], samples: Sequence[Sample]) -> float | None:
    from pcvr.data.scenes import attribute_recall

    if not all("objects" in s.facts for s in samples):
        return None
    return sum(attribute_recall(t, s.facts) for t, s in zip(predictions, samples, strict=True)) / len(samples)


METRICS: dict[str, Metric] = {
    "bleu4": Metric("BLEU-4", "shared 4-grams, 0 to 100", lambda p, s: bleu4(p, _references(s))),
    "cider": Metric("CIDEr", "shared rare n-grams; COCO models reach about 100", lambda p, s: cider(p, _references(s))),
    "rouge_l": Metric("ROUGE-L", "longest common subsequence, 0 to 100", lambda p, s: rouge_l(p, _references(s))),
    "attributes": Metric(
        "all attributes right",
        "captions with every object's colour and kind right and none invented",
        _attributes,
        True,
    ),
    "attribute_recall": Metric(
        "attributes named", "objects whose colour and kind a caption names", _attribute_recall, True
    ),
    "vqa_accuracy": Metric(
        "VQA accuracy", "answers that people gave too", lambda p, s: vqa_accuracy(p, _references(s)), True
    ),
}


def get_metric(name: str) -> Metric:
    """The metric `name`, or an error with the nearest name."""
    check_choice("metric", name, METRICS)
    return METRICS[name]


def score(task: Task, predictions: Sequence[str], samples: Sequence[Sample]) -> Scores:
    """Every metric of `task` that the samples have the truth for, in the task's order."""
    found = {name: get_metric(name).compute(predictions, samples) for name in task.metrics}
    return {name: value for name, value in found.items() if value is not None}


def share_right(task: Task, scores: Scores) -> float | None:
    """The share of right answers, 0 to 1, or None where the data do not say what is right (captions of photographs)."""
    return scores.get(task.right)


def headline(task: Task, scores: Scores) -> str:
    """Name of the one metric to show where there is room for one.

    It is the share of right answers where that is known, else CIDEr where it was computed, else the task's first.
    """
    for name in (task.right, "cider", *task.metrics):
        if name in scores:
            return name
    raise PcvrError(f"there are no scores of the task {task.name!r} to show: evaluate first.")
