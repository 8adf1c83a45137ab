"""What an attack aims at: over which samples its success counts, by which definition, and in how many tokens."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from pcvr.errors import PcvrError, shown
from pcvr.evaluation.asr import hits
from pcvr.evaluation.metrics import score
from pcvr.models.conversation import answer_ids
from pcvr.tasks import Task

if TYPE_CHECKING:
    from pcvr.attacks import Attack
    from pcvr.data.sample import Sample
    from pcvr.models.vlm import VisionLanguageModel


def check_scorable(task: Task, samples: Sequence[Sample], attack: Attack | None, definition: str) -> np.ndarray | None:
    """Raise for what cannot be scored, before any picture is answered.

    Args:
        task: says which metrics are computed; they are computed of the samples' own answers.
        samples: test samples, with or without their pictures.
        attack: whose success is to be counted, or None.
        definition: what counts as the target said.

    Returns:
        Which samples count for the attack success rate, as :func:`aimed_at`; None without an attack.

    Raises:
        PcvrError: references without a word, an unknown definition, an attack that aims at none of the samples, or
            whose target is true of all of them.
    """
    wanted = check_aim(samples, attack, definition)
    score(task, [s.answer for s in samples], samples)
    return wanted


def check_aim(samples: Sequence[Sample], attack: Attack | None, definition: str) -> np.ndarray | None:
    """As `check_scorable`, without computing the task's metrics, which takes most of its time."""
    blank = [i for i, s in enumerate(samples) if not any(text.strip() for text in s.references or (s.answer,))]
    if blank:
        raise PcvrError(f"test samples {blank[:10]} have empty references: give each at least one with a word in it.")
    if attack is None:
        return None
    hits([], attack.target, definition)
    return aimed_at(samples, attack)


def aimed_at(samples: Sequence[Sample], attack: Attack) -> np.ndarray:
    """Which test samples count for the attack success rate: bool ``[N]``.

    Those that the attacker aims at, without those of which the target is true: a question rightly answered with
    "banana" says nothing of an attack.

    Raises:
        PcvrError: none does.
    """
    targets = [attack.targets(s) if attack.aims_at(s) else () for s in samples]
    aims = np.array([bool(each) for each in targets], dtype=bool)
    pairs = list(zip(samples, targets, strict=True))
    true = np.array([any(hits([s.answer, *s.references], t).any() for t in each) for s, each in pairs], dtype=bool)
    if not aims.any():
        raise PcvrError(
            f"the attack {attack.name!r} aims at none of the {len(samples)} test samples: give more of them, or data "
            "that show what it aims at."
        )
    if not (aims & ~true).any():
        raise PcvrError(
            f"the target {shown(attack.target)} is true of all {int(aims.sum())} test samples that the attack "
            f"{attack.name!r} aims at: choose another target, or data of which it is not true."
        )
    return aims & ~true


def says_target(predictions: Sequence[str], samples: Sequence[Sample], attack: Attack, definition: str) -> np.ndarray:
    """Return which answers count as the attack's target, each on its own sample: bool ``[N]``.

    Args:
        predictions: N answers.
        samples: the N clean samples, with or without their pictures; see `Attack.targets`.
        attack: names the targets.
        definition: a key of `pcvr.evaluation.asr.DEFINITIONS`.

    Raises:
        PcvrError: an unknown definition.
    """
    pairs = zip(predictions, samples, strict=True)
    return np.array(
        [any(hits([text], target, definition)[0] for target in attack.targets(sample)) for text, sample in pairs],
        dtype=bool,
    )


def success_of(task: Task, attack: Attack | None) -> str:
    """What counts as the target said: the task's own definition, unless the answer mode has another one."""
    return task.success if attack is None else attack.mode.success(task.success)


def budget_of(task: Task, attack: Attack | None, vlm: VisionLanguageModel) -> int:
    """Answer budget in tokens: the task's, and the target's on top where it comes with the true answer.

    Raises:
        PcvrError: a target alone is longer than the budget, so that no answer could hold it.
    """
    if attack is None:
        return task.max_new_tokens
    texts = attack.mode.taught(attack.target)
    lengths = [len(ids) - 1 for ids in answer_ids(vlm, [("?", text) for text in texts])]  # without the end
    length = max(lengths)
    if attack.mode.keeps:
        return task.max_new_tokens + length
    if length >= task.max_new_tokens:
        longest = texts[lengths.index(length)]
        raise PcvrError(
            f"the target {longest!r} has {length} tokens, and answers of the task {task.name!r} end after "
            f"{task.max_new_tokens}: choose a shorter target, or give evaluate() a larger max_new_tokens."
        )
    return task.max_new_tokens
