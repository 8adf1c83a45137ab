"""A task is a prompt, a target for attackers, what counts as a hit, metrics, and how a scene is asked."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from pcvr.errors import PcvrError
from pcvr.utils.checks import check_choice

Turn = tuple[str, str, tuple[str, ...]]
"""Prompt, the answer to train on, and every acceptable answer."""


class Scene(Protocol):
    """What a task may ask of a drawn scene; :class:`pcvr.data.scenes.Scene` is one."""

    def captions(self) -> tuple[str, ...]:
        """Every caption that is right."""
        ...

    def question(self) -> tuple[str, str]:
        """A question about the scene and its answer."""
        ...


@dataclass(frozen=True)
class Task:
    """What is asked of a picture, and how the answers are scored.

    Attributes:
        name: what the user says.
        about: one line for listings.
        prompt: what is asked where the data have no prompt of their own; None where they must (each its own question).
        target: a harmless answer for attackers who name none, in the embedded models' vocabulary.
        success: what counts as the target said, a key of :data:`pcvr.evaluation.asr.DEFINITIONS`.
        metrics: keys of :data:`pcvr.evaluation.metrics.METRICS`; those that the data have no truth for are left out.
        right: which of the metrics is the share of right answers, 0 to 1.
        max_new_tokens: answer budget in tokens.
        of_scene: ``(scene, index) -> (prompt, answer, references)`` for the embedded data.
    """

    name: str
    about: str
    prompt: str | None
    target: str
    success: str
    metrics: tuple[str, ...]
    right: str
    max_new_tokens: int
    of_scene: Callable[[Scene, int], Turn]

    def __post_init__(self) -> None:
        if self.right not in self.metrics:
            raise PcvrError(
                f"the task {self.name!r} takes {self.right!r} for its share of right answers: add it to metrics."
            )


TASKS: dict[str, Task] = {}
"""Name to task. Filled by :func:`register`."""


def register(task: Task) -> None:
    """Make a task known to :func:`get_task`; also the way in for a task of your own."""
    TASKS[task.name] = task


def get_task(name: str) -> Task:
    """The task `name`.

    Raises:
        PcvrError: there is none of that name (the nearest is suggested).
    """
    check_choice("task", name, TASKS)
    return TASKS[name]
