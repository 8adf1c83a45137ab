"""One call from a model and test data to the figures: ASR, its floor, and utility on clean and triggered inputs."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pcvr.data.asked import bare_samples
from pcvr.data.open import open_data
from pcvr.errors import PcvrError
from pcvr.evaluation.asr import hits as hits_of
from pcvr.evaluation.generate import answer_all
from pcvr.evaluation.metrics import score
from pcvr.evaluation.record import Record
from pcvr.evaluation.success_criteria import budget_of, check_scorable, success_of
from pcvr.models.budget import check_size
from pcvr.tasks import get_task

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
) -> Record:
    """Answer every test picture without and with the trigger, and score both.

    Args:
        vlm: the model, fine-tuned or not; or what `pcvr.load` opens.
        data: clean test samples with references; their task says which metrics are computed. Or what `pcvr.open_data`
            opens, of which the test split is taken.
        attack: puts the trigger on; None scores clean inputs only. Or a name, with the target of the data's task.
        definition: what counts as the target said: ``"contains"`` (the normalised phrase in the normalised answer),
            ``"equals"``, ``"ends_with"`` or ``"contains_word"``; by default the task's.
        max_new_tokens: answer budget; by default the task's.
        defense: one that works at test time, as the fine-tuning's result has it; the others change nothing.
        state: what such a defence was calibrated to: the ``run.state`` of the result, or what its ``calibrate`` gives.
        batch_size: pictures answered at a time; None for as many as fit the memory, at most 256.
        progress: whether a bar is shown when a pass takes longer than two seconds.
        check_trigger: False goes on with a trigger that does not reach the model (see :func:`pcvr.triggered`).

    Returns:
        The record; print it.

    Raises:
        PcvrError: before the first pass, for what cannot be scored: fewer than two samples (CIDEr weighs words by how
            few samples use them), references without a word, an attack that aims at none of the samples, a trigger that
            survives the model's processor on fewer than 90 % of up to 32 of the samples; a size or budget below 1.
    """
    data = open_data(data, prefer="test")
    if len(data) < 2:
        raise PcvrError(
            f"the test data has {len(data)} samples: give at least 2, and some hundred for a narrow interval."
        )
    from pcvr.attacks import get_attack, triggered
    from pcvr.defenses import get_defense
    from pcvr.models.load import load

    check_size("batch_size", batch_size)
    check_size("max_new_tokens", max_new_tokens)
    attack = None if attack is None else get_attack(attack, task=data.task)
    defense = None if defense is None else get_defense(defense)
    vlm = load(vlm)
    began = time.perf_counter()
    task = get_task(data.task)
    definition = definition or success_of(task, attack)
    if max_new_tokens is None:
        max_new_tokens = budget_of(task, attack, vlm)
    samples = bare_samples(data)  # pictures are read again, a few at a time
    wanted = check_scorable(task, samples, attack, definition)
    worn = None if attack is None else triggered(data, attack, model=vlm, check_trigger=check_trigger)
    sized: dict[str, Any] = {"batch_size": batch_size, "progress": progress}
    said = answer_all(vlm, data, max_new_tokens, defense, state, **sized)
    answers = {"clean": said}
    hits = clean_hits = 0
    aimed = len(samples)
    shown = None
    if worn is not None and wanted is not None:
        attack = worn.attack
        answers["triggered"] = answer_all(vlm, worn, max_new_tokens, defense, state, **sized)
        aimed = int(wanted.sum())
        hits = int(hits_of(answers["triggered"], attack.target, definition)[wanted].sum())
        clean_hits = int(hits_of(said, attack.target, definition)[wanted].sum())
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
    )
