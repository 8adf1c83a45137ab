"""Curves of a training for TensorBoard, where that is installed."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pcvr.errors import PcvrError
from pcvr.training.callback_base import StageCallback
from pcvr.utils.places import check_place

if TYPE_CHECKING:
    from pcvr.defenses.context import TrainingContext

_WRITERS = ("torch.utils.tensorboard", "tensorboardX")


class TensorBoardCurves(StageCallback):
    """Writes the loss, the learning rate and the defence's figures, over the steps of all stages.

    Args:
        folder: for ``tensorboard --logdir``.

    Raises:
        PcvrError: TensorBoard is not installed, or the folder cannot be written.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder, self.done = str(folder), 0
        self.open_writer = _writer()
        check_place(folder, own=lambda _: True)

    def on_stage(self, run: TrainingContext, done: int) -> None:
        """Continue the step count of the stages before."""
        self.done = done

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Open the file."""
        self.writer = self.open_writer(self.folder)

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:
        """Write one point of each curve."""
        for name, value in (logs or {}).items():
            if isinstance(value, int | float) and "loss" in logs:
                self.writer.add_scalar(name, value, self.done + state.global_step)

    def on_train_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Close the file."""
        self.writer.close()


def _writer() -> Callable[[str], Any]:
    for name in _WRITERS:
        try:
            found: Callable[[str], Any] = import_module(name).SummaryWriter
        except ImportError:
            continue
        return found
    raise PcvrError("logs asks for TensorBoard, which is not installed: pip install tensorboard, or leave logs out.")
