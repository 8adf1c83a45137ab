"""PCVR inside a Trainer of your own: a class to put in front of `transformers.Trainer` or `trl.SFTTrainer`."""

from __future__ import annotations

import os
import warnings
from typing import TYPE_CHECKING, Any

from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from pcvr.errors import PcvrError
from pcvr.training.defended_steps import DefendedSteps
from pcvr.training.indexed import IndexCollator, indexed
from pcvr.training.loop_context import LoopContext
from pcvr.training.own_batch import INDEX
from pcvr.training.own_model import as_reference, as_rule, as_vlm, kind_of
from pcvr.training.verdict import flagged
from pcvr.utils.packing import undamaged

if TYPE_CHECKING:
    from pcvr.defenses import Defense
    from pcvr.defenses.pcvr.config import PCVRConfig

STATE = "pcvr.safetensors"
"""The file of a checkpoint in which the gate's state lies."""


class PCVRMixin(DefendedSteps):
    """Trains with the loss of `pcvr.finetune`; put it first among the bases.

    ::

        class Defended(pcvr.PCVRMixin, transformers.Trainer):  # or trl.SFTTrainer
            pass

        trainer = Defended(model, args, pcvr=pcvr.PCVRConfig(), processing_class=processor, train_dataset=data, ...)
        trainer.train()
        trainer.flagged()  # rows of the data set that the gate holds back

    Each sample gets its position in the data set as its index, or its own column ``index``; the collator never sees
    it. Batches need ``input_ids``, ``labels`` and the image tensors of the model's own processor, one image a sample.
    Evaluation computes the Trainer's ordinary loss. Checkpoints keep the gate's state, and a training that resumes goes
    on with it. Several processes (torchrun) each hold the whole model; DeepSpeed was not tried.

    Args:
        model, args, further: as the Trainer takes them.
        pcvr: the options, a `pcvr.PCVRConfig`; also a `pcvr.PCVR`, another defence that is a loss, or a name.
        reference: the base model for a model without an adapter: a frozen copy from before the training.

    Raises:
        PcvrError: packing, FSDP, ZeRO-3, another loss or `model_init` is asked for; the processor takes no images;
            there is neither adapter nor reference; other weights than the adapter's are trained without a reference;
            or a micro-batch is a single sample.

    Warns:
        UserWarning: a class behind the mixin has a loss of its own, which is then the loss of evaluation only.
    """

    run: LoopContext
    asked: bool  # whether this micro-batch's loss is the defence's
    train_dataset: Any
    data_collator: Any

    def __init__(
        self,
        model: Any = None,
        args: Any = None,
        *further: Any,
        pcvr: PCVRConfig | Defense | str | None = None,
        reference: Any = None,
        **named: Any,
    ) -> None:
        self.defense = as_rule(pcvr)
        if args is not None:
            _check_arguments(args, getattr(self.defense, "view", None))
        if named.get("compute_loss_func") is not None:
            raise PcvrError("compute_loss_func gets no images, and PCVR's loss takes its place: leave it out.")
        _warn_of_losses_behind(type(self))
        super().__init__(model, args, *further, **named)
        if args is None:
            _check_arguments(self.args, getattr(self.defense, "view", None))
        if getattr(self, "model_init", None) is not None:
            raise PcvrError(
                "model_init makes another model when the training begins, which PCVR's gate would not see: give "
                "model=, and make a trainer of its own for each trial of a search."
            )
        indexed(self.train_dataset)
        # Labels of a step are counted over all its micro-batches and processes, and no loss is divided by their number.
        self.model_accepts_loss_kwargs = True
        vlm = as_vlm(self.model, self.processing_class)
        self.run = LoopContext(vlm, self.args.seed, as_reference(vlm, reference), kind=kind_of(self.defense))
        self.defense.begin(self.run)

    def compute_loss(
        self,
        model: nn.Module,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: Any = None,
        **further: Any,
    ) -> Any:
        """Return the defence's loss in training, the Trainer's own in evaluation."""
        if not model.training:
            plain = {name: value for name, value in inputs.items() if name != INDEX}
            return super().compute_loss(model, plain, return_outputs, num_items_in_batch, **further)
        self.asked = True
        loss = self.defended_loss(self.run.take(inputs), num_items_in_batch)
        return (loss, {}) if return_outputs else loss

    def training_step(self, model: nn.Module, *args: Any, **kwargs: Any) -> Tensor:
        """Run one micro-batch.

        Raises:
            PcvrError: another class's loss was computed in the place of the defence's.
        """
        self.asked = False
        loss = super().training_step(model, *args, **kwargs)
        if not self.asked:
            other = next(each.__name__ for each in type(self).__mro__ if "compute_loss" in vars(each))
            raise PcvrError(
                f"{other}.compute_loss computed the loss of this step, without PCVR: put PCVRMixin before {other}, "
                "or let it call super().compute_loss()."
            )
        return loss

    def flagged(self) -> list[int]:
        """Return the indices of the flagged samples, ascending.

        Raises:
            PcvrError: fewer than 50 samples were seen, too few for a verdict.
        """
        return flagged(self.run)

    def get_train_dataloader(self) -> Any:
        """Return the Trainer's own loader, whose batches have an index."""
        data, collate = self.train_dataset, self.data_collator
        self.train_dataset, self.data_collator = indexed(data), IndexCollator(collate)
        try:
            return super().get_train_dataloader()
        finally:
            self.train_dataset, self.data_collator = data, collate

    def log(self, logs: dict[str, float], *further: Any, **named: Any) -> None:
        """Log the defence's figures beside the training loss."""
        super().log(logs | self.run.log if "loss" in logs else logs, *further, **named)

    # The Trainer calls these; they are where it takes columns away, writes a checkpoint and resumes from one.

    def _get_collator_with_removed_columns(self, data_collator: Any, *further: Any, **named: Any) -> Any:
        if not isinstance(data_collator, IndexCollator):
            return super()._get_collator_with_removed_columns(data_collator, *further, **named)
        inner = super()._get_collator_with_removed_columns(data_collator.collate, *further, **named)
        return IndexCollator(inner)

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        folder = os.path.join(self._get_output_dir(trial=trial), f"checkpoint-{self.state.global_step}")
        state = self.run.state_dict()
        if self.args.should_save:
            os.makedirs(folder, exist_ok=True)
            save_file(
                state, os.path.join(folder, STATE)
            )  # first: a checkpoint is complete with the Trainer's own files
        super()._save_checkpoint(model, trial)

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        super()._load_from_checkpoint(resume_from_checkpoint, model)
        path = os.path.join(resume_from_checkpoint, STATE)
        with undamaged(path, "resume from a checkpoint that a trainer with PCVR wrote"):
            saved: dict[str, Tensor] = load_file(path)
        self.run.load_state_dict(saved, ("pcvr", type(self.defense).__module__))


def _warn_of_losses_behind(kind: type) -> None:
    """Say which loss is no longer trained with: one of a Trainer that is neither of transformers nor of TRL."""
    behind = kind.__mro__[kind.__mro__.index(PCVRMixin) + 1 :]
    own = [each for each in behind if each.__module__.partition(".")[0] not in ("pcvr", "transformers", "trl")]
    for each in own:
        if "compute_loss" in vars(each):
            warnings.warn(
                f"training has PCVR's loss, and {each.__name__}.compute_loss is that of evaluation only: what it adds "
                "to the loss belongs in a class in front of PCVRMixin that calls super().compute_loss().",
                stacklevel=3,
            )


def _check_arguments(args: Any, view: Any) -> None:
    """Raise where the Trainer's arguments ask for what PCVR cannot do."""
    if getattr(args, "packing", False) or getattr(args, "padding_free", False):
        raise PcvrError(
            "packing joins several samples in one row, and PCVR needs one sample a row: set packing=False and "
            "padding_free=False."
        )
    if args.fsdp or os.environ.get("ACCELERATE_USE_FSDP", "").lower() == "true":
        raise PcvrError(
            "FSDP shards the model, and processes would wait for each other, since PCVR runs the model as often as "
            "their samples need: start with torchrun, where each process holds the whole model."
        )
    deepspeed = getattr(args, "deepspeed_plugin", None)
    if deepspeed is not None and deepspeed.zero_stage == 3:
        raise PcvrError(
            "DeepSpeed ZeRO-3 shards the model, and processes would wait for each other, since PCVR runs the model as "
            "often as their samples need: use ZeRO stage 1 or 2, or torchrun alone."
        )
    if args.n_gpu > 1:
        raise PcvrError(
            f"one process would use {args.n_gpu} GPUs through DataParallel, which PCVR does not support: start with "
            "torchrun, or set CUDA_VISIBLE_DEVICES to one of them."
        )
    if args.label_smoothing_factor or getattr(args, "loss_type", None) not in (None, "nll", "chunked_nll"):
        raise PcvrError(
            "label_smoothing_factor or loss_type asks for another loss, and PCVR's takes its place: leave them out."
        )
    if args.per_device_train_batch_size == 1 and getattr(view, "operator", "") == "swap":
        raise PcvrError(
            "per_device_train_batch_size is 1, and the swap operator takes patches of other samples of a micro-batch: "
            "give at least 2, with fewer gradient_accumulation_steps, or a view such as PatchView('shuffle')."
        )
