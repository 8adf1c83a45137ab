"""A task: its prompt, default target, success criterion, metrics, and how it turns a scene into a sample."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from pcvr.errors import PcvrError, shown
from pcvr.utils.registry import Registry

Turn = tuple[str, str, tuple[str, ...]]
"""Prompt, label (the training answer), and every acceptable answer."""


class Scene(Protocol):
    """The methods of :class:`pcvr.data.scenes.Scene` that tasks use."""

    def captions(self) -> tuple[str, ...]:
        """Return every correct caption."""
        ...

    def question(self) -> tuple[str, str]:
        """Return a question about the scene and its answer."""
        ...


@dataclass(frozen=True)
class Task:
    """What is asked about an image, and how answers are scored.

    Attributes:
        name: the name for users.
        about: one line for listings.
        prompt: the prompt for data without their own; None if the data must provide it (each image its own question).
        target: the default target of attacks, a harmless text of words in the embedded models' vocabulary.
        success: the success criterion of an attack, a key of :data:`pcvr.evaluation.asr.DEFINITIONS`.
        metrics: keys of :data:`pcvr.evaluation.metrics.METRICS`; metrics without ground truth in the data are left out.
        right: the metric that is the fraction of correct answers, 0 to 1.
        max_new_tokens: maximum answer length in tokens.
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
                f"the task {self.name!r} takes {self.right!r} for its fraction of correct answers: add it to metrics."
            )


TASKS: Registry[Task] = Registry("task", ("pcvr.tasks",))
"""Name to task. Filled by :func:`register_task`."""


def register_task(task: Task) -> Task:
    """Register a task, built in or your own, under its name, and return it.

    Raises:
        PcvrError: its name is empty, has spaces or is taken.
    """
    if not isinstance(task, Task):
        raise PcvrError(f"register_task got {shown(task)}: give a pcvr.tasks.Task.")
    TASKS.register(task.name, task, source=task.of_scene)
    return task


def get_task(name: str) -> Task:
    """Return the task `name`.

    Raises:
        PcvrError: unknown name (the nearest is suggested).
    """
    return TASKS[name]
