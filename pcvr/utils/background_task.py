"""Work in a thread of its own, so that a notebook stays free, with its result or its error handed on to who asks."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Generic, TypeVar

from pcvr.errors import PcvrError

T = TypeVar("T")


class BackgroundTask(Generic[T]):
    """One piece of work, done once."""

    def __init__(self, work: Callable[[], T], name: str = "work") -> None:
        """
        Args:
            work: what is to be done; nothing is, before `start`.
            name: what it is called in messages.
        """
        self._work, self._name = work, name
        self._thread: threading.Thread | None = None
        self._found: list[T] = []
        self._error: BaseException | None = None

    @property
    def running(self) -> bool:
        """Whether the work is under way."""
        return self._thread is not None and self._thread.is_alive()

    @property
    def finished(self) -> bool:
        """Whether it came to its end, a good one or not."""
        return self._thread is not None and not self._thread.is_alive()

    @property
    def error(self) -> BaseException | None:
        """What ended it, where that was an error."""
        return self._error

    def start(self) -> None:
        """Begin, and return at once.

        Raises:
            PcvrError: it was begun before.
        """
        if self._thread is not None:
            raise PcvrError(f"this {self._name} was started already: make another one for another {self._name}.")
        # A daemon: a kernel that is shut down does not wait for it.
        self._thread = threading.Thread(target=self._run, name=f"pcvr {self._name}", daemon=True)
        self._thread.start()

    def result(self, timeout: float | None = None) -> T:
        """The result; waits for it.

        Args:
            timeout: seconds to wait at most; None for no limit.

        Raises:
            PcvrError: it was not started, or is not over in time.
            BaseException: whatever ended the work.
        """
        if self._thread is None:
            raise PcvrError(f"the {self._name} has not been started: press Start, or call start().")
        self._thread.join(timeout)
        if self._error is not None:
            raise self._error
        if not self._found:
            raise PcvrError(f"the {self._name} is not over: wait until it is over, or stop it.")
        return self._found[0]

    def _run(self) -> None:
        try:
            self._found.append(self._work())
        except BaseException as problem:  # handed on by result(); a thread has nobody to tell
            self._error = problem
