"""The progress bar of a training, in notebooks, scripts and on the command line."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pcvr.errors import legible
from pcvr.training.callback_base import StageCallback, own_figures

if TYPE_CHECKING:
    from pcvr.defenses.context import TrainingContext


class ProgressBar(StageCallback):
    """A tqdm bar with the loss and the defence's figures, one for each stage."""

    def on_stage(self, run: TrainingContext, done: int) -> None:
        """Name the bar by the stage, where a defence has more than the usual one."""
        self.name = "fine-tuning" if run.stage == "train" else legible(f"fine-tuning, {run.stage}")

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Show the bar; a resumed stage starts at the step of its checkpoint."""
        from tqdm.auto import tqdm

        self.bar = tqdm(total=state.max_steps, initial=state.global_step, desc=self.name, unit="step")

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Advance by one step."""
        self.bar.update(1)

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:
        """Show the loss first, then the defence's figures: ``loss=0.412, suspicious=0.05``."""
        if logs and "loss" in logs:
            figures = {"loss": logs["loss"]} | own_figures(logs)
            self.bar.set_postfix_str(legible(", ".join(f"{name}={value:.3g}" for name, value in figures.items())))

    def on_train_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Leave the bar on the screen."""
        self.bar.close()
