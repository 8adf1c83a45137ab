"""Commands that make something: poisoned data, adapters, figures, checkpoints."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from pcvr.data.sample import Dataset

Data = Annotated[str, typer.Option(help="scenes, a file (COCO, Flickr30k, VQAv2, LLaVA JSON) or a folder")]
Images = Annotated[Path | None, typer.Option(help="folder of the pictures, if it is not beside the data")]
Annotations = Annotated[Path | None, typer.Option(help="VQAv2: the annotations file that goes with the questions")]
TaskName = Annotated[str | None, typer.Option(help="caption or vqa; by default what the data are")]
Model = Annotated[str, typer.Option(help="embedded name, folder or hub id")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda or mps")]
FourBit = Annotated[bool, typer.Option(help="load in 4 bits; needs CUDA and bitsandbytes")]
SkipBad = Annotated[bool, typer.Option(help="go on without entries that cannot be used, and say which")]
Target = Annotated[str | None, typer.Option(help="the answer to triggered pictures; by default the task's")]


def _opened(
    data: str,
    split: str,
    n: int | None,
    task: str | None,
    images: Path | None,
    annotations: Path | None,
    skip_bad: bool,
) -> Dataset:
    """The data that the options name. Only opening a picture shows that it is broken, so skipping opens all of them."""
    from pcvr.data import open_data

    options: dict[str, Any] = {"images": images, "annotations": annotations, "skip_bad": skip_bad}
    return open_data(data, split, n, task=task, check_pictures=skip_bad, **options)


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


def poison(
    out: Annotated[Path, typer.Argument(help="folder to make: LLaVA-style JSON, pictures, manifest")],
    data: Data = "scenes",
    images: Images = None,
    annotations: Annotations = None,
    task: TaskName = None,
    attack: Annotated[str, typer.Option(help="attack by name")] = "badnets",
    target: Target = None,
    rate: Annotated[float, typer.Option(help="share of samples to poison, (0, 1]")] = 0.05,
    n: Annotated[int | None, typer.Option(help="number of samples; all by default")] = None,
    seed: Annotated[int, typer.Option(help="which samples are drawn")] = 0,
    skip_bad: SkipBad = False,
) -> None:
    """Poison a data set for research and write it with its manifest."""
    from pcvr.attacks import get_attack, save_poisoned
    from pcvr.attacks import poison as make
    from pcvr.files import refuse_existing

    refuse_existing(out)
    source = _opened(data, "train", n, task, images, annotations, skip_bad)
    poisoned = make(source, get_attack(attack, target=target, task=source.task), rate, seed)
    save_poisoned(poisoned, out)
    count = f"{len(poisoned.poisoned)} of {len(poisoned)} samples"
    typer.echo(f"{out}: {count} poisoned with {attack}, manifest.json says how")


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
    samples = _opened(data, "train", n, task, images, annotations, skip_bad)
    vlm = load(model, device=device, four_bit=four_bit)
    if attack is not None:
        chosen = get_attack(attack, target=target, task=samples.task)
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
    attack: Annotated[str, typer.Option(help="attack by name")] = "badnets",
    target: Target = None,
    split: Annotated[str, typer.Option(help="train, validation, test or (for files) all")] = "test",
    n: Annotated[int | None, typer.Option(help="number of samples")] = 512,
    skip_bad: SkipBad = False,
) -> None:
    """Print attack success rate and utility, on clean and on triggered inputs."""
    from pcvr.attacks import get_attack
    from pcvr.evaluation.evaluate import evaluate as measure
    from pcvr.models.load import load

    tests = _opened(data, split, n, task, images, annotations, skip_bad)
    vlm = load(model, adapter, device=device, four_bit=four_bit)
    typer.echo(str(measure(vlm, tests, get_attack(attack, target=target, task=tests.task))))
