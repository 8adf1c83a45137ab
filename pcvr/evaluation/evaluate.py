"""Evaluate a model on test data: ASR, its floor, and utility on clean and triggered inputs."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pcvr.data.asked import bare_samples
from pcvr.data.open import open_data
from pcvr.errors import PcvrError
from pcvr.evaluation.generate import answer_all
from pcvr.evaluation.metrics import score
from pcvr.evaluation.record import Record
from pcvr.evaluation.success_criteria import budget_of, check_aim, check_scorable, says_target, success_of
from pcvr.models.budget import check_size
from pcvr.models.guard import Guard
from pcvr.tasks import get_task
from pcvr.utils.checks import check_flag

if TYPE_CHECKING:
    from pcvr.attacks import Attack
    from pcvr.data.sample import Dataset
    from pcvr.defenses.base import Defense
    from pcvr.models.vlm import VisionLanguageModel


def evaluate(
    vlm: VisionLanguageModel | str | Path,
    data: Dataset | str | Path,
    attack: Attack | str | None = None,
    *,
    definition: str | None = None,
    max_new_tokens: int | None = None,
    defense: Defense | str | None = None,
    state: Mapping[str, Any] | None = None,
    batch_size: int | None = None,
    progress: bool = False,
    check_trigger: bool = True,
    guard: bool = True,
) -> Record:
    """Answer every test image without and with the trigger, and score both.

    A model that carries a guard (`VisionLanguageModel.guard`) answers through it.

    Args:
        vlm: the model, fine-tuned or not; or the name or folder of a model without adapter.
        data: clean test samples with references; their task decides which metrics are computed. Or what
            `pcvr.open_data` opens, of which the test split is taken.
        attack: puts the trigger on; None scores clean inputs only. Or a name, with the target of the data's task.
        definition: when the target counts as said: ``"contains"`` (the normalised phrase in the normalised answer),
            ``"equals"``, ``"ends_with"``, ``"contains_word"`` or ``"colours"``; by default that of the attack's answer
            mode, or the task's.
        max_new_tokens: answer budget; by default the task's.
        defense: a test-time defence that answers instead of the model's own guard; other defences change nothing.
        state: what `defense` was calibrated to: the ``run.state`` of the result, or what its ``calibrate`` returns.
        batch_size: images answered at a time; None for as many as fit the memory, at most 256.
        progress: whether to show a progress bar once a pass has taken two seconds.
        check_trigger: False continues with a trigger that does not reach the model (see :func:`pcvr.triggered`).
        guard: False evaluates the model's own answers.

    Returns:
        The record; print it.

    Raises:
        PcvrError: before the first pass, for what cannot be scored: fewer than two samples (CIDEr weighs words by how
            few samples use them), references without a word, an attack that aims at none of the samples, a trigger that
            survives the model's processor on fewer than 90 % of up to 32 of the samples; a size or budget below 1; or
            ``guard=False`` together with a test-time defence.
    """
    data = open_data(data, prefer="test")
    _check_count(data)
    from pcvr.attacks import get_attack, triggered
    from pcvr.defenses import get_defense
    from pcvr.models.load import load

    check_size("batch_size", batch_size)
    check_size("max_new_tokens", max_new_tokens)
    check_flag("guard", guard)
    attack = None if attack is None else get_attack(attack, task=data.task)
    vlm = load(vlm)
    if defense is not None and (rule := get_defense(defense)).answers_at_test_time():
        if not guard:
            raise PcvrError(f"guard is False, and defense {rule.name!r} acts at test time: leave one of them out.")
        vlm = replace(vlm, guard=Guard(rule, state or {}))
    carried = None if vlm.guard is None else vlm.guard.name
    began = time.perf_counter()
    task = get_task(data.task)
    definition = definition or success_of(task, attack)
    if max_new_tokens is None:
        max_new_tokens = budget_of(task, attack, vlm)
    samples = bare_samples(data)  # images are read again, a few at a time
    wanted = check_scorable(task, samples, attack, definition)
    worn = None if attack is None else triggered(data, attack, model=vlm, check_trigger=check_trigger)
    how: dict[str, Any] = {"guard": guard, "batch_size": batch_size, "progress": progress}
    said = answer_all(vlm, data, max_new_tokens, **how)
    answers = {"clean": said}
    hits = clean_hits = 0
    aimed = len(samples)
    shown = None
    if worn is not None and wanted is not None:
        attack = worn.attack
        answers["triggered"] = answer_all(vlm, worn, max_new_tokens, **how)
        aimed = int(wanted.sum())
        hits = int(says_target(answers["triggered"], samples, attack, definition)[wanted].sum())
        clean_hits = int(says_target(said, samples, attack, definition)[wanted].sum())
        shown = score(task, answers["triggered"], samples)
    return Record(
        model=vlm.name,
        data=data.name,
        task=task.name,
        attack=attack.describe() if attack is not None else None,
        n=len(data),
        clean=score(task, said, samples),
        triggered=shown,
        hits=hits,
        clean_hits=clean_hits,
        aimed=aimed,
        seconds=round(time.perf_counter() - began, 2),
        answers=answers,
        reach={} if worn is None else worn.reach,
        guard=carried if guard else None,
        guard_off=None if guard else carried,
    )


def check_evaluation(vlm: VisionLanguageModel, data: Dataset, attacks: Sequence[Attack]) -> None:
    """Raise for what `evaluate` cannot score; call it before a training whose result is to be evaluated.

    Whether the trigger reaches the model is not looked at.

    Args:
        vlm: the model, not yet fine-tuned.
        data: clean test samples.
        attacks: whose success is to be counted.

    Raises:
        PcvrError: fewer than two samples, references without a word, an attack that aims at none of the samples, or a
            target that is longer than the task's answers.
    """
    _check_count(data)
    task = get_task(data.task)
    for attack in attacks:
        budget_of(task, attack, vlm)
    samples = bare_samples(data)
    for attack in attacks:
        check_aim(samples, attack, success_of(task, attack))  # evaluate computes the metrics themselves


def _check_count(data: Dataset) -> None:
    if len(data) < 2:
        raise PcvrError(
            f"the test data has {len(data)} samples: give at least 2, and some hundred for a narrow interval."
        )
