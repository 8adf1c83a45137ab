"""Scores sorted by the kind of question."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pcvr.errors import PcvrError


def question_kind(prompt: str, words: int = 2) -> str:
    """The first words of a question, by which VQA data sort their questions: ``"how many"``, ``"what colour"``."""
    return " ".join(prompt.lower().split()[:words])


def by_kind(prompts: Sequence[str], scores: np.ndarray, least: int = 5) -> dict[str, np.ndarray]:
    """Scores sorted by the kind of question, the kind with the lowest median first.

    Args:
        prompts: N questions.
        scores: ``[N]``.
        least: kinds with fewer questions are put together as ``"other"``, the last.

    Raises:
        PcvrError: there are not as many scores as questions.
    """
    if len(prompts) != len(scores):
        raise PcvrError(f"{len(prompts)} questions and {len(scores)} scores: give one score for each question.")
    groups: dict[str, list[float]] = {}
    for prompt, score in zip(prompts, scores, strict=True):
        groups.setdefault(question_kind(prompt), []).append(float(score))
    rare = [kind for kind, values in groups.items() if len(values) < least]
    other = [value for kind in rare for value in groups.pop(kind)]
    found = {kind: np.array(groups[kind]) for kind in sorted(groups, key=lambda kind: float(np.median(groups[kind])))}
    return found | ({"other": np.array(other)} if other else {})
