"""How a training looks in a terminal: a bar with the loss and the defence's figures, on the error stream."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from pcvr.cli.screen import Screen
from pcvr.training.callback_base import StageCallback
from pcvr.training.live import TRAINERS

if TYPE_CHECKING:
    from pcvr.defenses.context import TrainingContext


class RichBar(StageCallback):
    """One line for each stage of a defence; shown in a terminal only."""

    def __init__(self, console: Console | None = None) -> None:
        self.console = console or Screen(stderr=True)
        self.name = "train"

    def on_stage(self, run: TrainingContext, done: int) -> None:
        """Name the line by the stage."""
        self.name = run.stage

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Show the line, as far as an earlier call came."""
        columns = (
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[figures]}", markup=False),
        )
        self.bar = Progress(*columns, console=self.console, disable=not self.console.is_terminal)
        self.task = self.bar.add_task(self.name, total=state.max_steps, completed=state.global_step, figures="")
        self.bar.start()

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """One step on."""
        self.bar.update(self.task, completed=state.global_step)

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:
        """The loss, and what the defence tells."""
        if logs and "loss" in logs:
            self.bar.update(self.task, figures=figures(logs))

    def on_train_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Leave the line as it is."""
        self.bar.stop()


def figures(logs: dict[str, float]) -> str:
    """``loss 0.412, suspicious 0.05``: the loss first, then what is the defence's own."""
    own = {name: value for name, value in logs.items() if name not in TRAINERS}
    return ", ".join(f"{name} {value:.3g}" for name, value in {"loss": logs["loss"], **own}.items())
