"""Work that goes on behind a widget: a thread that can be called off, and an error that is told."""

from __future__ import annotations

from collections.abc import Callable
from threading import Event, Thread
from typing import Any

from transformers import TrainerCallback


class Job:
    """One piece of work at a time, in a thread; the notebook stays free meanwhile.

    Attributes:
        cancel: set to call the work off.
        running: whether work is under way.
    """

    def __init__(self) -> None:
        self.cancel = Event()
        self.running = False
        self._thread: Thread | None = None

    def start(
        self, work: Callable[[], None], failed: Callable[[Exception], None], over: Callable[[], None] = lambda: None
    ) -> bool:
        """Begin `work` unless some is under way; all three are called in the thread.

        Args:
            work: what is to be done.
            failed: gets whatever `work` raises, for nobody else would see it.
            over: called when the next work may begin.

        Returns:
            Whether it was begun.
        """
        if self.running:
            return False
        self.cancel.clear()
        self.running = True

        def body() -> None:
            try:
                work()
            except Exception as error:
                failed(error)
            finally:
                self.running = False
                over()

        # A daemon: a kernel that is shut down does not wait for it.
        self._thread = Thread(target=body, name="pcvr-job", daemon=True)
        self._thread.start()
        return True

    def wait(self, seconds: float | None = None) -> bool:
        """Wait until nothing is under way, at most so long; whether that is so."""
        if self._thread is not None:
            self._thread.join(seconds)
            return not self._thread.is_alive()
        return True


class Ticker(TrainerCallback):
    """Tells how far a training is: ``tell(step, steps)`` after each step."""

    def __init__(self, tell: Callable[[int, int], None]) -> None:
        self.tell = tell

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Tell the step."""
        self.tell(state.global_step, state.max_steps)
