"""A function call in a background thread, so that a notebook stays responsive; its result or error is kept."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Generic, TypeVar

from pcvr.errors import PcvrError

T = TypeVar("T")


class BackgroundTask(Generic[T]):
    """One function call in a background thread; it runs once."""

    def __init__(self, work: Callable[[], T], name: str = "work") -> None:
        """
        Args:
            work: the function; `start` calls it.
            name: its name in messages.
        """
        self._work, self._name = work, name
        self._thread: threading.Thread | None = None
        self._found: list[T] = []
        self._error: BaseException | None = None

    @property
    def running(self) -> bool:
        """Whether the work is in progress."""
        return self._thread is not None and self._thread.is_alive()

    @property
    def finished(self) -> bool:
        """Whether the work has ended, with or without an error."""
        return self._thread is not None and not self._thread.is_alive()

    @property
    def error(self) -> BaseException | None:
        """The error that ended the work, if any."""
        return self._error

    def start(self) -> None:
        """Start the work and return at once.

        Raises:
            PcvrError: it was started before.
        """
        if self._thread is not None:
            raise PcvrError(f"this {self._name} was started already: make another one for another {self._name}.")
        # A daemon: a kernel that is shut down does not wait for it.
        self._thread = threading.Thread(target=self._run, name=f"pcvr {self._name}", daemon=True)
        self._thread.start()

    def result(self, timeout: float | None = None) -> T:
        """Wait for the result and return it.

        Args:
            timeout: maximum wait in seconds; None for no limit.

        Raises:
            PcvrError: the work was not started, or has not ended in time.
            BaseException: the error that ended the work.
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
        except BaseException as problem:  # result() raises it again
            self._error = problem
