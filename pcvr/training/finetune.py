"""``finetune``: a Hugging Face Trainer with a peft adapter, whose loss the defence supplies."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
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
from pcvr.models.guard import Guard
from pcvr.models.load import is_large, load
from pcvr.training.callback_base import StageCallback
from pcvr.training.checkpoints import Checkpoints, plan_of
from pcvr.training.config import TrainConfig
from pcvr.training.plain_start import PlainStart
from pcvr.training.progress_bar import ProgressBar
from pcvr.training.result import FinetuneResult
from pcvr.training.stages import Stages
from pcvr.training.tensorboard import TensorBoardCurves
from pcvr.utils import distributed
from pcvr.utils.heap import give_back
from pcvr.utils.places import check_apart
from pcvr.utils.renamed import old_arguments

if TYPE_CHECKING:
    from transformers import TrainerCallback

    from pcvr.data.sample import Dataset
    from pcvr.models.vlm import VisionLanguageModel


@old_arguments(every="save_steps")
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
    save_steps: int = 50,
    logs: str | Path | None = None,
    eval_batch_size: int | None = None,
    check_trigger: bool = True,
    plain_start: str | Path | None = None,
) -> FinetuneResult:
    """Fine-tune `model` on `data` with low-rank adapters on connector and language model; the tower stays frozen.

    Args:
        model: from `pcvr.load`, or what it opens, such as ``"tiny-llava"``. A small model is copied; one above 200 M
            parameters is adapted in place, with gradient checkpointing.
        data: samples with answers, poisoned or not; or what `pcvr.open_data` opens, whose training split is used.
        defense: a name (``"none"``, ``"augment"``, ``"pcvr"``) or a defence with its own options.
        config: steps or epochs, batch size, learning rate, LoRA, seed.
        clean: samples that the defender trusts, for the defences that need some.
        callbacks: Trainer callbacks, for live plots or a stop button.
        progress: whether a progress bar is shown.
        checkpoints: a folder for checkpoints. After a kill the same call resumes there and gives the same losses and
            weights as an uninterrupted one. A finished training leaves the adapter and the defence's state at the end
            of each stage in the folder; from these the same call returns the result without training. Not with FSDP.
        save_steps: optimiser steps between two checkpoints.
        logs: a folder for TensorBoard's curves.
        eval_batch_size: samples that a defence reads at a time without training on them; None for as many as fit the
            memory.
        check_trigger: False trains even on poisoned data whose trigger does not reach the model.
        plain_start: a folder for a plain fine-tuning on these data. Defences that begin with one (those that repair,
            filter or guard, and ``"none"``) leave it there, and take it if it is there: the result is the same, and
            comes much sooner. Others pay no attention to it. Not with `checkpoints`.

    Under ``torchrun`` or ``accelerate launch`` all processes make the same call and share each step's samples.

    Raises:
        PcvrError: unknown defence, empty data, a non-finite loss, a model that already has an adapter, a defence that
            needs clean data and has none, checkpoints or a plain start of another training, or both, TensorBoard
            asked for but not installed, a batch that the processes cannot share evenly, or poison whose trigger
            survives the model's processor on fewer than 90 % of up to 32 poisoned samples (see
            :mod:`pcvr.attacks.reach`).
    """
    check_size("eval_batch_size", eval_batch_size)
    check_apart(checkpoints=checkpoints, logs=logs, plain_start=plain_start)
    if checkpoints is not None and plain_start is not None:
        raise PcvrError("checkpoints and plain_start are both given, and a training has one of them: leave one out.")
    rule, config = get_defense(defense), _checked(config)
    data = open_data(data)
    clean = None if clean is None else open_data(clean, prefer="validation")
    vlm = load(model)
    large = is_large(vlm)
    config = config.settled(len(data), large)
    _check_fit(vlm, rule, clean)
    if check_trigger:
        check_poisoned(data, vlm)
    began = time.perf_counter()
    distributed.join(vlm.device)
    _check_processes(rule, config, checkpoints)
    shows = progress and distributed.rank() == 0
    watching = [*callbacks, *_own_callbacks(shows, logs)]
    store = None
    if checkpoints is not None:
        store = Checkpoints(checkpoints, save_steps, plan_of(vlm, data, clean, rule, config), rule)
    start = PlainStart(plain_start, vlm, data, config) if plain_start is not None and rule.starts_plain else None
    vlm = _trainable(vlm, config, large)
    trusted = EncodedData(vlm, clean) if clean else None
    run = TrainingContext(
        vlm,
        EncodedData(vlm, data),
        config.max_steps,
        config.seed,
        trusted,
        eval_batch_size=eval_batch_size,
        progress=shows,
    )
    with _prepared(run, store, large) as scratch:
        stages = Stages(run, rule, config, scratch, watching, store, start)
        for callback in watching:
            if isinstance(callback, StageCallback):
                callback.on_defense(run)
        rule.begin(run)
        stopped = stages.train()
    vlm.model.eval()
    if rule.answers_at_test_time():
        vlm.guard = Guard(rule, dict(run.state))
    seconds = time.perf_counter() - began + (0.0 if start is None else start.seconds)
    return FinetuneResult(vlm, rule, config, stages.history, seconds, run, stopped)


def _checked(config: TrainConfig | None) -> TrainConfig:
    if config is not None and not isinstance(config, TrainConfig):
        raise PcvrError(f"config is {shown(config)}: give a TrainConfig, such as TrainConfig(max_steps=400).")
    return config or TrainConfig()


def _check_fit(vlm: VisionLanguageModel, rule: Defense, clean: Dataset | None) -> None:
    """Raise where the defence lacks trusted samples, or the model already has an adapter."""
    if rule.needs_clean and not clean:
        raise PcvrError(f"defence {rule.name!r} needs clean data: give finetune(clean=...) some trusted samples.")
    if vlm.adapted:
        raise PcvrError("the model has an adapter already: finetune() a freshly loaded one.")


def _check_processes(rule: Defense, config: TrainConfig, checkpoints: str | Path | None) -> None:
    """Raise where the processes cannot share a step's samples, or a sharded model cannot be trained this way.

    A sharded model works only when all processes run it equally often, which a defence's own loss may not do.
    """
    parts = config.gradient_accumulation_steps * distributed.world()
    if config.batch_size % parts:
        raise PcvrError(
            f"batch_size {config.batch_size} cannot be shared by {distributed.world()} processes with "
            f"{config.gradient_accumulation_steps} micro-batches each: give a multiple of {parts}."
        )
    if not distributed.sharded():
        return
    if type(rule).loss is not Defense.loss or type(rule).train is not Defense.train:
        raise PcvrError(
            f"defence {rule.name!r} cannot train a model that FSDP has sharded: processes would wait for each other. "
            "Start it with torchrun, where each process holds the whole model; four_bit=True makes that small."
        )
    if checkpoints is not None:
        raise PcvrError("checkpoints cannot be kept of a model that FSDP has sharded: leave checkpoints out.")


def _own_callbacks(shows: bool, logs: str | Path | None) -> Iterator[TrainerCallback]:
    """The progress bar and TensorBoard's curves, where they are asked for."""
    if shows:
        yield ProgressBar()
    if logs is not None and distributed.rank() == 0:
        yield TensorBoardCurves(logs)


def _trainable(vlm: VisionLanguageModel, config: TrainConfig, large: bool) -> VisionLanguageModel:
    """The model with a fresh adapter: a copy of a small one, a large one in place."""
    torch.manual_seed(config.seed)
    vlm = with_adapter(vlm if large else vlm.copy(), config)
    if large if config.gradient_checkpointing is None else config.gradient_checkpointing:
        checkpoint_layers(vlm)
    return vlm


def checkpoint_layers(vlm: VisionLanguageModel) -> None:
    """Switch gradient checkpointing on: layers are computed again in the backward pass, for less memory."""
    # Its name changed in transformers 5.23; the older one warns there.
    enable = getattr(vlm.base, "activation_checkpointing_enable", None) or vlm.base.gradient_checkpointing_enable
    enable({"use_reentrant": False})


def with_adapter(vlm: VisionLanguageModel, config: TrainConfig) -> VisionLanguageModel:
    """Put a fresh LoRA adapter on the family's target modules and freeze the rest; a guard of before goes off."""
    from peft import LoraConfig, get_peft_model

    from pcvr.models.quiet import quiet_loading

    adapter = LoraConfig(
        r=config.lora_r, lora_alpha=config.lora_alpha, target_modules=vlm.family.lora_targets, lora_dropout=0.0
    )
    with quiet_loading():
        return replace(vlm, model=get_peft_model(vlm.model, adapter), guard=None)


@contextmanager
def _prepared(run: TrainingContext, store: Checkpoints | None, large: bool) -> Iterator[str]:
    """Inside the block the checkpoints' folder is locked and the tower's features are kept; gives a scratch folder."""
    with ExitStack() as stack:
        stack.callback(give_back, collect=True)
        if store is not None:
            if distributed.rank() == 0:
                stack.enter_context(store.begin())
            distributed.wait()
        scratch = stack.enter_context(TemporaryDirectory(prefix="pcvr-"))
        if run.vlm.device.type == "cpu" and not large:
            stack.enter_context(eager_attention(run.vlm.base))
        for encoded in (run.data, run.clean):
            if encoded is not None:
                stack.callback(encoded.release)
                encoded.keep_features(progress=run.progress)
        yield scratch
