"""Commands that make something of a model: adapters, figures, checkpoints."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pcvr.cli.options import (
    Annotations,
    Answer,
    AttackName,
    Data,
    Device,
    FourBit,
    Images,
    Model,
    Options,
    Preset,
    SkipBad,
    Target,
    TaskName,
    opened,
    options_of,
)


def pretrain(
    name: Annotated[str, typer.Argument(help="embedded model to make from nothing, such as tiny-llava")],
    out: Annotated[Path, typer.Option(help="folder for the checkpoint")] = Path("build/checkpoints"),
    steps: Annotated[int | None, typer.Option(help="optimiser steps; the default made the shipped one")] = None,
    work: Annotated[Path, typer.Option(help="folder for intermediate states, to resume from")] = Path("runs/pretrain"),
) -> None:
    """Make an embedded checkpoint again, and compare it with the shipped one; interrupted, it goes on where it was."""
    from rich.console import Console
    from rich.table import Table

    from pcvr.models.pretrain import recipe_of
    from pcvr.models.zoo import embedded
    from pcvr.study.remake import against_shipped, remake

    embedded(name)  # an unknown name is refused before anything is drawn
    config = recipe_of(name) if steps is None else recipe_of(name).shortened(steps)
    record = remake(name, out / name, config, work)
    table = Table("", "made again", "shipped", title=f"{out / name}")
    for row in against_shipped(record):
        table.add_row(*row)
    Console().print(table)


def train(
    out: Annotated[Path, typer.Argument(help="folder for the adapter")],
    data: Data = "scenes",
    images: Images = None,
    annotations: Annotations = None,
    task: TaskName = None,
    model: Model = "tiny-llava",
    device: Device = "auto",
    four_bit: FourBit = False,
    defense: Annotated[str, typer.Option(help="none, augment or pcvr")] = "none",
    attack: Annotated[str | None, typer.Option(help="poison the data with this attack first")] = None,
    preset: Preset = "scaled",
    answer: Answer = None,
    option: Options = None,
    target: Target = None,
    rate: Annotated[float, typer.Option(help="share of samples to poison, (0, 1]")] = 0.05,
    n: Annotated[int | None, typer.Option(help="number of training samples")] = None,
    steps: Annotated[int, typer.Option(help="optimiser steps")] = 400,
    batch_size: Annotated[int, typer.Option(help="samples a step")] = 32,
    seed: Annotated[int, typer.Option(help="seed of poison and training")] = 0,
    skip_bad: SkipBad = False,
) -> None:
    """Fine-tune a model with a defence and save the adapter."""
    from pcvr.attacks import check_target, get_attack
    from pcvr.attacks import poison as make
    from pcvr.defenses import get_defense
    from pcvr.files import refuse_existing
    from pcvr.models.load import load
    from pcvr.training import TrainConfig, finetune

    refuse_existing(out)
    rule = get_defense(defense)
    samples = opened(data, "train", n, task, images, annotations, skip_bad)
    vlm = load(model, device=device, four_bit=four_bit)
    if attack is not None:
        chosen = get_attack(attack, target, preset, task=samples.task, answer=answer, **options_of(option))
        check_target(chosen, vlm.tokenizer)
        samples = make(samples, chosen, rate, seed)
    result = finetune(vlm, samples, rule, TrainConfig(steps=steps, batch_size=batch_size, seed=seed))
    result.save(out)
    typer.echo(f"{out}: {steps} steps with defence {defense} in {result.seconds:.1f} s")


def evaluate(
    adapter: Annotated[Path | None, typer.Argument(help="adapter folder; none for the model as it is")] = None,
    data: Data = "scenes",
    images: Images = None,
    annotations: Annotations = None,
    task: TaskName = None,
    model: Model = "tiny-llava",
    device: Device = "auto",
    four_bit: FourBit = False,
    attack: AttackName = "badnets",
    preset: Preset = "scaled",
    answer: Answer = None,
    option: Options = None,
    target: Target = None,
    split: Annotated[str, typer.Option(help="train, validation, test or (for files) all")] = "test",
    n: Annotated[int | None, typer.Option(help="number of samples")] = 512,
    skip_bad: SkipBad = False,
) -> None:
    """Print attack success rate and utility, on clean and on triggered inputs."""
    from pcvr.attacks import get_attack
    from pcvr.evaluation.evaluate import evaluate as measure
    from pcvr.models.load import load

    tests = opened(data, split, n, task, images, annotations, skip_bad)
    vlm = load(model, adapter, device=device, four_bit=four_bit)
    chosen = get_attack(attack, target, preset, task=tests.task, answer=answer, **options_of(option))
    typer.echo(str(measure(vlm, tests, chosen)))
