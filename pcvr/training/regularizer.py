"""PCVR in a training loop of your own: a loss to call, in plain torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from torch import Tensor

from pcvr.training.loop_context import LoopContext
from pcvr.training.own_model import as_reference, as_rule, as_vlm, check_unwrapped, kind_of
from pcvr.training.step_part import part_of_step
from pcvr.training.verdict import flagged
from pcvr.utils import distributed

if TYPE_CHECKING:
    from pcvr.defenses import Defense
    from pcvr.defenses.pcvr.config import PCVRConfig


class PCVRRegularizer:
    """The loss of `pcvr.finetune` for your own loop; it replaces the model's own loss.

    ::

        reg = pcvr.PCVRRegularizer(pcvr.PCVRConfig(), model, processor)
        for batch in loader:
            loss = reg(model, batch, index=batch.pop("index"))
            loss.backward()
            optimizer.step(); optimizer.zero_grad()

    With gradient accumulation, say at which step a micro-batch belongs and how many label tokens the whole step has.
    Losses are then added up, not divided by the number of micro-batches::

        for step, parts in enumerate(steps):
            items = sum(int((part["labels"][:, 1:] != -100).sum()) for part in parts)
            for part in parts:
                reg(model, part, step=step, num_items_in_batch=items).backward()
            optimizer.step(); optimizer.zero_grad()

    A micro-batch needs at least two samples for the swap operator, whose patches come from the others.

    With several processes, each holds the whole model: give the regulariser the unwrapped model, and call
    `average_gradients` before each optimiser step.

    Args:
        config: the options, a `pcvr.PCVRConfig`; also a `pcvr.PCVR`, another defence that is a loss, or a name.
        model: the transformers or peft model in training, or one from `pcvr.load`.
        processor: the model's processor.
        reference: the base model for a model without an adapter: a frozen copy from before the training.
        seed: seeds the views.

    Raises:
        PcvrError: options or model cannot be used, there is neither adapter nor reference, or other weights than the
            adapter's are trained without a reference.
    """

    def __init__(
        self,
        config: PCVRConfig | Defense | str | None,
        model: Any,
        processor: Any = None,
        reference: Any = None,
        seed: int = 0,
    ) -> None:
        self.defense = as_rule(config)
        vlm = as_vlm(model, processor)
        self.run = LoopContext(vlm, seed, as_reference(vlm, reference), kind=kind_of(self.defense))
        self.defense.begin(self.run)

    def __call__(
        self,
        model: Any,
        batch: Mapping[str, Any],
        index: Any = None,
        *,
        step: int | None = None,
        num_items_in_batch: int | None = None,
    ) -> Tensor:
        """Return the loss of a batch, a scalar with gradient.

        Args:
            model: the model in training.
            batch: what your collator made: ``input_ids``, ``labels`` ``[B, T]``, the image tensors.
            index: ``[B]``, which samples they are: whole numbers, the same in every epoch; by default
                ``batch["index"]``.
            step: optimiser steps done before this one; by default every call is a step.
            num_items_in_batch: label tokens of the whole step, where `batch` is one of its micro-batches.

        Raises:
            PcvrError: a column is missing, there is no index, the samples are packed, no token has a label, or the loss
                is not finite.
        """
        model = getattr(model, "model", model) if type(model) is type(self.run.vlm) else model
        check_unwrapped(model)
        if model is not self.run.vlm.model:
            self.run.vlm = replace(self.run.vlm, model=model)
        self.run.step = self.run.step if step is None else step
        taken = self.run.take(batch, index)
        loss = self.defense.loss(self.run, taken)
        loss = part_of_step(loss, taken["labels"], num_items_in_batch, self.run.step)
        self.run.step += step is None
        return loss

    def average_gradients(self) -> None:
        """Average the gradients over the processes, each with its own batches; a single process does nothing."""
        distributed.average_gradients(self.run.vlm.model.parameters())

    @property
    def log(self) -> dict[str, float]:
        """The defence's latest figures, by name."""
        return dict(self.run.log)

    def flagged(self) -> list[int]:
        """Return the indices of the flagged samples, ascending.

        Raises:
            PcvrError: fewer than 50 samples were seen, too few for a verdict.
        """
        return flagged(self.run)

    def state_dict(self) -> dict[str, Tensor]:
        """Return what the gate knows, as flat tensors that safetensors can keep; it does not hold the model."""
        return self.run.state_dict()

    def load_state_dict(self, saved: dict[str, Tensor]) -> None:
        """Continue from what `state_dict` returned.

        Raises:
            PcvrError: it is damaged or something else.
        """
        self.run.load_state_dict(saved, ("pcvr", type(self.defense).__module__))
