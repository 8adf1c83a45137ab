"""What can be asked of a picture: one file a task, and nothing else in the package knows a task by name."""

from pcvr.tasks import caption, vqa
from pcvr.tasks.base import TASKS, Task, Turn, get_task, register

register(caption.TASK)
register(vqa.TASK)

__all__ = ["TASKS", "Task", "Turn", "get_task", "register"]
