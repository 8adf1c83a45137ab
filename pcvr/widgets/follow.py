"""Following work that goes on in a thread, from the kernel's own loop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

_following: set[asyncio.Task[None]] = set()
"""Tasks under way; the loop itself holds them only weakly."""


def follow(refresh: Callable[[], None], running: Callable[[], bool], seconds: float) -> None:
    """Refresh now and then while something runs, and once when it is over.

    Widgets and figures are so touched by one thread only, the kernel's. Where there is no loop there is no notebook
    either: whoever calls from a script refreshes by hand.

    Args:
        refresh: shows how far the work is.
        running: whether it is still under way.
        seconds: between two looks.
    """

    async def look() -> None:
        while running():
            refresh()
            await asyncio.sleep(seconds)
        refresh()

    try:
        loop = asyncio.get_running_loop()
    except RuntimeError:
        return
    task = loop.create_task(look())
    _following.add(task)
    task.add_done_callback(_following.discard)
