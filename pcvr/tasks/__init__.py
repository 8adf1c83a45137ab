"""The tasks: one file each; no other module refers to a task by name."""

from pcvr.tasks.base import TASKS, Task, Turn, get_task, register_task

register = register_task
"""Former name of :func:`register_task`."""

__all__ = ["TASKS", "Task", "Turn", "get_task", "register", "register_task"]
