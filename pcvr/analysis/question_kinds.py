"""Group scores by the kind of question."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pcvr.errors import PcvrError


def question_kind(prompt: str, words: int = 2) -> str:
    """Return the first words of a question, by which VQA data group questions: ``"how many"``, ``"what colour"``."""
    return " ".join(prompt.lower().split()[:words])


def by_kind(prompts: Sequence[str], scores: np.ndarray, least: int = 5) -> dict[str, np.ndarray]:
    """Group scores by the kind of question, the kind with the lowest median first.

    Args:
        prompts: N questions.
        scores: ``[N]``.
        least: kinds with fewer questions form the group ``"other"``, the last.

    Raises:
        PcvrError: the numbers of scores and questions differ.
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
