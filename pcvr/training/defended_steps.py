"""The training step of a Hugging Face Trainer whose loss comes from a defence."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from pcvr.models.libraries import Trainer
from pcvr.training.step_part import part_of_step
from pcvr.utils import distributed

if TYPE_CHECKING:
    from pcvr.defenses import Defense
    from pcvr.defenses.context import TrainingContext
    from pcvr.models.encode import Batch


class DefendedSteps(Trainer):
    """A Trainer that can ask a defence for the loss of a batch; it knows no defence by name.

    Attributes:
        run: the training.
        defense: gives the loss.
    """

    run: TrainingContext
    defense: Defense

    def defended_loss(self, batch: Batch, num_items_in_batch: Any) -> Tensor:
        """Return the loss of a micro-batch as its part of the step.

        Args:
            batch: the samples.
            num_items_in_batch: label tokens of the step, as the Trainer counts them; None where it did not.

        Raises:
            PcvrError: the loss is not finite.
        """
        self.run.step = self.state.global_step
        loss = self.defense.loss(self.run, batch)
        items = None if num_items_in_batch is None else int(num_items_in_batch)
        # Gradients of processes are averaged, and `items` are those of all of them.
        processes = self.run.world if self.args.average_tokens_across_devices else 1
        return part_of_step(loss, batch["labels"], items, self.run.step, processes=processes)

    def training_step(self, model: nn.Module, *args: Any, **kwargs: Any) -> Tensor:
        """Run one micro-batch, and average the gradients of the processes after the last one of a step."""
        loss: Tensor = super().training_step(model, *args, **kwargs)
        # Defences run the model as often as they like, past the wrapper that would do this by itself.
        if self.accelerator.sync_gradients and not (self.is_fsdp_enabled or self.is_deepspeed_enabled):
            distributed.average_gradients(self.run.vlm.model.parameters())
        return loss
