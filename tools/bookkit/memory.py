"""How much memory the processes started here take at most."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import psutil

_EVERY = 0.1  # seconds


@dataclass
class Peak:
    """The largest resident memory seen so far, in bytes."""

    bytes: int = 0


@contextmanager
def peak_of_children() -> Iterator[Peak]:
    """Watch the resident memory of every process started inside the block, with their own children, added up."""
    here = psutil.Process()
    before = {child.pid for child in here.children(recursive=True)}
    peak = Peak()
    done = threading.Event()

    def watch() -> None:
        while not done.wait(_EVERY):
            children = [child for child in here.children(recursive=True) if child.pid not in before]
            peak.bytes = max(peak.bytes, sum(_resident(child) for child in children))

    watcher = threading.Thread(target=watch, name="memory", daemon=True)
    watcher.start()
    try:
        yield peak
    finally:
        done.set()
        watcher.join()


def _resident(process: psutil.Process) -> int:
    try:
        return int(process.memory_info().rss)
    except psutil.Error:  # it has just ended
        return 0
