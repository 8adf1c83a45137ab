"""Attack success of a trigger and of triggers near it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pcvr.data.asked import bare_samples
from pcvr.evaluation.generate import answer_all
from pcvr.evaluation.success_criteria import aimed_at, budget_of, says_target, success_of
from pcvr.tasks import get_task

if TYPE_CHECKING:
    from pcvr.attacks import Attack
    from pcvr.data.sample import Dataset
    from pcvr.models.vlm import VisionLanguageModel


def near_rates(vlm: VisionLanguageModel, data: Dataset, attack: Attack) -> dict[str, tuple[int, int]]:
    """Answer every test image under each of `pcvr.attacks.neighbours.neighbours`.

    Clean images are not answered: `pcvr.evaluate` has the floor.

    Args:
        vlm: the model; one that carries a guard answers through it.
        data: N clean test samples.
        attack: whose neighbours are tried, fitted to the model if its place depends on one.

    Returns:
        Name of the neighbour to hits, and how many of the N samples the attack aims at.

    Raises:
        PcvrError: the attack was not built by `pcvr.get_attack`.
    """
    from pcvr.attacks import triggered
    from pcvr.attacks.neighbours import neighbours

    task, samples = get_task(data.task), bare_samples(data)
    found = {}
    for name, near in neighbours(attack).items():
        worn = triggered(data, near, check_trigger=False)
        said = answer_all(vlm, worn, budget_of(task, near, vlm))
        aimed = aimed_at(samples, near)
        hit = says_target(said, samples, near, success_of(task, near))
        found[name] = int(hit[aimed].sum()), int(aimed.sum())
    return found
