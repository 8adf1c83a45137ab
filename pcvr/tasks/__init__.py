"""The tasks: one file each; no other module refers to a task by name."""

from pcvr.tasks import caption, vqa
from pcvr.tasks.base import TASKS, Task, Turn, get_task, register

register(caption.TASK)
register(vqa.TASK)

__all__ = ["TASKS", "Task", "Turn", "get_task", "register"]
