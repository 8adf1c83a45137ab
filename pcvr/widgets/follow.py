"""Follow work that runs in a thread: refresh a widget until the work ends."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

_following: set[asyncio.Task[None]] = set()
"""Running tasks; the loop itself holds only weak references."""


def follow(refresh: Callable[[], None], running: Callable[[], bool], seconds: float) -> None:
    """Refresh at intervals while something runs, and once at its end.

    So only one thread, the kernel's, touches widgets and figures. Without a running loop there is no notebook: a script
    has to refresh by itself.

    Args:
        refresh: shows the state of the work.
        running: whether the work still runs.
        seconds: between two refreshes.
    """

    async def poll() -> None:
        while running():
            refresh()
            await asyncio.sleep(seconds)
        refresh()

    try:
        loop = asyncio.get_running_loop()
    except RuntimeError:
        return
    task = loop.create_task(poll())
    _following.add(task)
    task.add_done_callback(_following.discard)
