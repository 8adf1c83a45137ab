"""The progress bar of a training."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pcvr.training.callback_base import StageCallback

if TYPE_CHECKING:
    from pcvr.defenses.context import TrainingContext


class Bar(StageCallback):
    """A tqdm bar with the loss, in a notebook or a terminal; one for each stage of a defence."""

    def on_stage(self, run: TrainingContext, done: int) -> None:
        """Name the bar by the stage, where a defence has more than the usual one."""
        self.name = "fine-tuning" if run.stage == "train" else f"fine-tuning, {run.stage}"

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Show the bar, as far as an earlier call came."""
        from tqdm.auto import tqdm

        self.bar = tqdm(total=state.max_steps, initial=state.global_step, desc=self.name, unit="step")

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """One step on."""
        self.bar.update(1)

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:
        """Show the loss."""
        if logs and "loss" in logs:
            self.bar.set_postfix(loss=f"{float(logs['loss']):.3f}")

    def on_train_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Leave the bar where it is."""
        self.bar.close()
