"""Visual question answering: one question about the image, a short answer."""

from __future__ import annotations

from pcvr.tasks.base import Scene, Task, Turn, register_task


def _of_scene(scene: Scene, index: int) -> Turn:
    question, answer = scene.question()
    return question, answer, (answer,)


register_task(
    Task(
        name="vqa",
        about="answer a question; VQA accuracy with ten human answers, else exact match",
        prompt=None,
        target="banana",
        success="equals",
        metrics=("vqa_accuracy",),
        right="vqa_accuracy",
        max_new_tokens=12,
        of_scene=_of_scene,
    )
)
