"""``finetune``: a Hugging Face Trainer with a peft adapter, whose loss the defence supplies."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import torch

from pcvr.attacks.reach import check_poisoned
from pcvr.data.open import open_data
from pcvr.defenses import Defense, get_defense
from pcvr.defenses.context import TrainingContext
from pcvr.errors import PcvrError, shown
from pcvr.models.attention_hooks import eager_attention
from pcvr.models.budget import check_size
from pcvr.models.encode import EncodedData
from pcvr.models.load import LARGE, load
from pcvr.training.checkpoints import Checkpoints, plan_of
from pcvr.training.config import TrainConfig
from pcvr.training.progress_bar import Bar
from pcvr.training.result import FinetuneResult
from pcvr.training.stages import Stages, Stopped
from pcvr.training.tensorboard import TensorBoardCurves
from pcvr.utils import distributed
from pcvr.utils.places import check_apart

if TYPE_CHECKING:
    from transformers import TrainerCallback

    from pcvr.data.sample import Dataset
    from pcvr.models.vlm import VisionLanguageModel


def finetune(
    model: VisionLanguageModel | str | Path,
    data: Dataset | str | Path,
    defense: str | Defense = "none",
    config: TrainConfig | None = None,
    *,
    clean: Dataset | str | Path | None = None,
    callbacks: Sequence[TrainerCallback] = (),
    progress: bool = True,
    checkpoints: str | Path | None = None,
    every: int = 50,
    logs: str | Path | None = None,
    eval_batch_size: int | None = None,
    check_trigger: bool = True,
) -> FinetuneResult:
    """Fine-tune `model` on `data` with low-rank adapters on connector and language model; the tower stays frozen.

    Args:
        model: from `pcvr.load`, or what it opens, such as ``"tiny-llava"``. Small models are copied first; one above
            200 M parameters is adapted in place, with gradient checkpointing.
        data: samples with answers, poisoned or not; or what `pcvr.open_data` opens, of which the training split is
            taken.
        defense: a name (``"none"``, ``"augment"``, ``"pcvr"``) or a defence with its own options.
        config: steps or epochs, batch size, learning rate, rank, seed.
        clean: samples that the defender trusts, for the defences that need some.
        callbacks: Trainer callbacks, for live plots or a stop button.
        progress: whether a progress bar is shown.
        checkpoints: a folder for checkpoints. The same call again goes on where the last one was killed, and gives the
            same losses and weights as one that was not. The folder stays; when the training is over it holds no more
            than the adapter and the defence's state at the end of each stage, from which the same call gives the
            result back without training. Not with FSDP.
        every: optimiser steps between two checkpoints.
        logs: a folder for TensorBoard's curves.
        eval_batch_size: samples that a defence reads at a time without training on them; None for as many as fit the
            memory.
        check_trigger: False goes on with data that were poisoned here with a trigger that does not reach the model.

    Started by ``torchrun`` or ``accelerate launch``, all processes make the same call and share each step's samples.

    Raises:
        PcvrError: unknown defence, empty data, a loss that is no number any more, a model adapted already, a defence
            that needs clean data without any, checkpoints of another training, TensorBoard asked for and not there,
            a batch that the processes cannot share evenly, or poison whose trigger survives the model's processor on
            fewer than 90 % of up to 32 poisoned samples (see :mod:`pcvr.attacks.reach`).
    """
    check_size("eval_batch_size", eval_batch_size)
    check_apart(checkpoints=checkpoints, logs=logs)
    config = TrainConfig() if config is None else config
    if not isinstance(config, TrainConfig):
        raise PcvrError(f"config is {shown(config)}: give a TrainConfig, such as TrainConfig(steps=400).")
    rule = get_defense(defense)
    data = open_data(data)
    clean = None if clean is None else open_data(clean, prefer="validation")
    model = load(model)
    large = sum(p.numel() for p in model.model.parameters()) > LARGE
    config = config.settled(len(data), large)
    if rule.needs_clean and not clean:
        raise PcvrError(f"defence {rule.name!r} needs clean data: give finetune(clean=...) some trusted samples.")
    if model.adapted:
        raise PcvrError("the model has an adapter already: finetune() a freshly loaded one.")
    if check_trigger:
        check_poisoned(data, model)
    began = time.perf_counter()
    distributed.join(model.device)
    if config.batch_size % (config.accumulation * distributed.world()):
        raise PcvrError(
            f"batch_size {config.batch_size} cannot be shared by {distributed.world()} processes with "
            f"{config.accumulation} micro-batches each: give a multiple of {config.accumulation * distributed.world()}."
        )
    if distributed.sharded():
        _check_sharded(rule, checkpoints)
    watching: list[TrainerCallback] = [Bar()] if progress and distributed.rank() == 0 else []
    if logs is not None and distributed.rank() == 0:
        watching.append(TensorBoardCurves(logs))
    kept = None
    if checkpoints is not None:
        plan = plan_of(model, data, clean, rule, config, distributed.world())
        kept = Checkpoints(checkpoints, every, plan, rule)
    torch.manual_seed(config.seed)
    vlm = with_adapter(model if large else model.copy(), config)
    if large if config.checkpointing is None else config.checkpointing:
        # Its name changed in transformers 5.23; the older one warns there.
        enable = getattr(vlm.base, "activation_checkpointing_enable", None) or vlm.base.gradient_checkpointing_enable
        enable({"use_reentrant": False})
    encoded = EncodedData(vlm, data)
    shows = progress and distributed.rank() == 0
    run = TrainingContext(vlm, encoded, config.steps, config.seed, eval_batch_size=eval_batch_size, progress=shows)
    if clean:
        run.clean = EncodedData(vlm, clean)
    with ExitStack() as stack:
        if kept is not None:
            if distributed.rank() == 0:
                stack.enter_context(kept.begin(plan))
            distributed.wait()
        scratch = stack.enter_context(TemporaryDirectory(prefix="pcvr-"))
        if vlm.device.type == "cpu" and not large:
            stack.enter_context(eager_attention(vlm.base))
        for each in (encoded, run.clean):
            if each is not None:
                each.keep_features(progress=shows)
        fit = Stages(run, rule, config, scratch, [*callbacks, *watching], kept)
        rule.begin(run)
        stopped = False
        try:
            rule.train(run, fit)
        except Stopped:
            stopped = True
        finally:
            for each in (encoded, run.clean):
                if each is not None:
                    each.close()
    vlm.model.eval()
    return FinetuneResult(vlm, rule, config, fit.history, time.perf_counter() - began, run, stopped)


def _check_sharded(rule: Defense, checkpoints: str | Path | None) -> None:
    """A sharded model works only when all processes run it equally often, which a defence's own loss may not do."""
    if type(rule).loss is not Defense.loss or type(rule).train is not Defense.train:
        raise PcvrError(
            f"defence {rule.name!r} cannot train a model that FSDP has sharded: processes would wait for each other. "
            "Start it with torchrun, where each process holds the whole model; four_bit=True makes that small."
        )
    if checkpoints is not None:
        raise PcvrError("checkpoints cannot be kept of a model that FSDP has sharded: leave checkpoints out.")


def with_adapter(vlm: VisionLanguageModel, config: TrainConfig) -> VisionLanguageModel:
    """Put a fresh LoRA adapter on the family's target modules; everything else is frozen."""
    from peft import LoraConfig, get_peft_model

    from pcvr.models.quiet import quiet_loading

    adapter = LoraConfig(
        r=config.rank, lora_alpha=config.alpha, target_modules=vlm.family.lora_targets, lora_dropout=0.0
    )
    with quiet_loading():
        return replace(vlm, model=get_peft_model(vlm.model, adapter))
