"""The command that fine-tunes."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Annotated

import typer

from pcvr.cli import options as opt
from pcvr.cli.defending import DefenseName, DefenseOptions, defense_of, trusted
from pcvr.cli.screen import say
from pcvr.cli.source import Source
from pcvr.errors import PcvrError


def train(
    context: typer.Context,
    out: Annotated[Path, typer.Argument(help="folder for the adapter")],
    data: opt.Data = "scenes",
    images: opt.Images = None,
    annotations: opt.Annotations = None,
    task: opt.TaskName = None,
    model: opt.Model = "tiny-llava",
    device: opt.Device = "auto",
    four_bit: opt.FourBit = False,
    defense: DefenseName = "none",
    defense_option: DefenseOptions = None,
    clean: Annotated[
        str | None, typer.Option(help="trusted samples: a number of the validation split, or other data")
    ] = None,
    attack: Annotated[str | None, typer.Option(help="poison the data with this attack first")] = None,
    preset: opt.Preset = "scaled",
    answer: opt.Answer = None,
    option: opt.Options = None,
    target: opt.Target = None,
    rate: Annotated[float, typer.Option(help="fraction of the samples to poison, (0, 1]")] = 0.05,
    n: Annotated[
        int | None, typer.Option("--n", "--samples", help="number of training samples; torchrun takes --n for its own")
    ] = None,
    max_steps: Annotated[int, typer.Option(help="optimiser steps")] = 400,
    num_train_epochs: Annotated[float | None, typer.Option(help="passes over the data, instead of --max-steps")] = None,
    learning_rate: Annotated[
        float | None, typer.Option(help="peak rate; by default 4e-3, above 200 million parameters 2e-4")
    ] = None,
    warmup_ratio: Annotated[float, typer.Option(help="fraction of the steps in which the rate rises")] = 0.06,
    lora_r: Annotated[int, typer.Option(help="rank of the LoRA adapter")] = 32,
    lora_alpha: Annotated[int, typer.Option(help="the adapter is scaled by lora_alpha / lora_r")] = 64,
    batch_size: Annotated[
        int, typer.Option(help="samples an optimiser step, all processes and micro-batches together")
    ] = 32,
    gradient_accumulation_steps: Annotated[
        int, typer.Option(help="micro-batches that a step's samples are divided into: less memory")
    ] = 1,
    gradient_checkpointing: Annotated[
        bool | None,
        typer.Option(
            "--gradient-checkpointing/--no-gradient-checkpointing",
            help="less memory, more time; by default for large models",
        ),
    ] = None,
    shuffle: Annotated[
        bool, typer.Option(help="a new order in each pass over the data, or always that of the data")
    ] = True,
    precision: Annotated[str | None, typer.Option(help="fp32 or bf16; by default what the weights are")] = None,
    eval_batch_size: opt.EvalBatchSize = None,
    seed: Annotated[int, typer.Option(help="seed of poison and training")] = 0,
    checkpoints: Annotated[
        Path | None, typer.Option(help="folder for checkpoints; the same command resumes there")
    ] = None,
    save_steps: Annotated[int, typer.Option(help="steps between two checkpoints")] = 50,
    logs: Annotated[Path | None, typer.Option(help="folder for TensorBoard's curves, if that is installed")] = None,
    split: opt.Split = None,
    skip_bad: opt.SkipBad = False,
    check_trigger: opt.CheckTrigger = True,
    follow_links: opt.FollowLinks = False,
    turns: opt.Turns = "together",
) -> None:
    """Fine-tune a model with a defence, and save the adapter with its record, record.json.

    Under torchrun or accelerate launch the processes share each step's samples.
    """
    from pcvr.attacks import check_target, get_attack
    from pcvr.attacks import poison as make
    from pcvr.data.subset import shared
    from pcvr.models.device import pick_device
    from pcvr.models.load import load
    from pcvr.training import TrainConfig, finetune
    from pcvr.training.result import training_record
    from pcvr.utils import distributed
    from pcvr.utils.places import check_apart, check_place

    if attack is None:
        opt.refuse_idle(context, f"{opt.ATTACKING} rate", "goes with --attack NAME: give both, or neither")
    if checkpoints is None:
        opt.refuse_idle(context, "save_steps", "goes with --checkpoints FOLDER: give both, or neither")
    if num_train_epochs is not None:
        opt.refuse_idle(context, "max_steps", "and --num-train-epochs both say how long: give one of them")
    check_place(out)
    check_apart(**{"OUT": out, "--checkpoints": checkpoints, "--logs": logs})
    for place in (checkpoints, logs):
        if place is not None:
            check_place(place, own=lambda _: True)
    rule = defense_of(defense, defense_option)
    config = TrainConfig(
        max_steps=max_steps,
        num_train_epochs=num_train_epochs,
        batch_size=batch_size,
        learning_rate=learning_rate,
        warmup_ratio=warmup_ratio,
        lora_r=lora_r,
        lora_alpha=lora_alpha,
        seed=seed,
        gradient_checkpointing=gradient_checkpointing,
        gradient_accumulation_steps=gradient_accumulation_steps,
        precision=precision,
        shuffle=shuffle,
    )
    if rule.needs_clean and clean is None:
        raise PcvrError(f"defence {defense!r} needs trusted samples: give --clean 100, or --clean DATA.")
    source = Source(data, task, images, annotations, skip_bad, follow_links, turns)
    # Trusted samples of the same data must not be training samples.
    samples = source.open(split, n, apart=clean is not None and clean.isdecimal())
    trusted_samples = None if clean is None else trusted(clean, source, split)
    if trusted_samples is not None and shared(samples, trusted_samples):
        raise PcvrError(f"--clean {clean} names training samples: give a number, or other data.")
    distributed.join(pick_device(device))
    try:
        vlm = load(model, device=device, four_bit=four_bit)
        if attack is not None:
            chosen = get_attack(attack, target, preset, task=samples.task, answer=answer, **opt.options_of(option))
            check_target(chosen, vlm.tokenizer)
            samples = make(samples, chosen, rate, seed, model=vlm, check_trigger=check_trigger)
        if distributed.rank() == 0:
            source.say()
        result = finetune(
            vlm,
            samples,
            rule,
            config,
            clean=trusted_samples,
            progress=sys.stderr.isatty(),
            checkpoints=checkpoints,
            save_steps=save_steps,
            logs=logs,
            eval_batch_size=eval_batch_size,
            check_trigger=check_trigger,
        )
        result.save(out, training_record(result, shlex.join(["pcvr", *sys.argv[1:]])), rescue=True)
        if distributed.rank() == 0:
            took = result.config
            how = f"{took.max_steps} steps with defence {defense} in {result.seconds:.1f} s"
            say(f"{out}: {how}, learning rate {took.peak:g}")
            for note in result.notes:
                say(f"note: {note}", err=True)
    finally:
        distributed.leave()
