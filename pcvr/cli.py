"""The command line: what the notebooks do, without a notebook."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pcvr.errors import PcvrError

app = typer.Typer(add_completion=False, no_args_is_help=True, help="Backdoors in vision language models, for learning.")


@app.command()
def pretrain(
    name: Annotated[str, typer.Argument(help="embedded model to make from nothing, such as tiny-llava")],
    out: Annotated[Path, typer.Option(help="folder for the checkpoint")] = Path("build/checkpoints"),
    steps: Annotated[int | None, typer.Option(help="optimiser steps; the default made the shipped checkpoint")] = None,
    work: Annotated[Path, typer.Option(help="folder for intermediate states, to resume from")] = Path("runs/pretrain"),
) -> None:
    """Make an embedded checkpoint again; an interrupted run goes on where it was."""
    from pcvr.models.pretrain import PretrainConfig
    from pcvr.models.pretrain import pretrain as make
    from pcvr.models.zoo import embedded

    embedded(name)  # an unknown name is refused before anything is drawn
    config = PretrainConfig() if steps is None else PretrainConfig().shortened(steps)
    record = make(name, out / name, config, work)
    typer.echo(f"{out / name}: {config.steps} steps in {record['seconds']:.0f} s")


@app.command()
def poison(
    out: Annotated[Path, typer.Argument(help="folder to make: LLaVA-style JSON, pictures, manifest")],
    data: Annotated[str, typer.Option(help="scenes, a LLaVA-style JSON file, or a folder with one")] = "scenes",
    attack: Annotated[str, typer.Option(help="attack by name")] = "badnets",
    target: Annotated[str, typer.Option(help="the answer to triggered pictures")] = "a photo of the banana",
    rate: Annotated[float, typer.Option(help="share of samples to poison, (0, 1]")] = 0.05,
    n: Annotated[int | None, typer.Option(help="number of samples; all by default")] = None,
    seed: Annotated[int, typer.Option(help="which samples are drawn")] = 0,
) -> None:
    """Poison a data set for research and write it with its manifest."""
    from pcvr.attacks import get_attack, save_poisoned
    from pcvr.attacks import poison as make
    from pcvr.data import open_data
    from pcvr.files import refuse_existing

    refuse_existing(out)
    poisoned = make(open_data(data, n=n), get_attack(attack, target=target), rate, seed)
    save_poisoned(poisoned, out)
    count = f"{len(poisoned.poisoned)} of {len(poisoned)} samples"
    typer.echo(f"{out}: {count} poisoned with {attack}, manifest.json says how")


@app.command()
def train(
    out: Annotated[Path, typer.Argument(help="folder for the adapter")],
    data: Annotated[str, typer.Option(help="scenes, a LLaVA-style JSON file, or a folder with one")] = "scenes",
    model: Annotated[str, typer.Option(help="embedded name, folder or hub id")] = "tiny-llava",
    defense: Annotated[str, typer.Option(help="none, augment or pcvr")] = "none",
    attack: Annotated[str | None, typer.Option(help="poison the data with this attack first")] = None,
    rate: Annotated[float, typer.Option(help="share of samples to poison, (0, 1]")] = 0.05,
    n: Annotated[int | None, typer.Option(help="number of training samples")] = None,
    steps: Annotated[int, typer.Option(help="optimiser steps")] = 200,
    seed: Annotated[int, typer.Option(help="seed of poison and training")] = 0,
) -> None:
    """Fine-tune a model with a defence and save the adapter."""
    from pcvr.attacks import check_target, get_attack
    from pcvr.attacks import poison as make
    from pcvr.data import open_data
    from pcvr.defenses import get_defense
    from pcvr.files import refuse_existing
    from pcvr.models.load import load
    from pcvr.training import TrainConfig, finetune

    refuse_existing(out)
    rule = get_defense(defense)
    samples = open_data(data, n=n)
    vlm = load(model)
    if attack is not None:
        chosen = get_attack(attack)
        check_target(chosen, vlm.tokenizer)
        samples = make(samples, chosen, rate, seed)
    result = finetune(vlm, samples, rule, TrainConfig(steps=steps, seed=seed))
    result.save(out)
    typer.echo(f"{out}: {steps} steps with defence {defense} in {result.seconds:.1f} s")


@app.command()
def evaluate(
    adapter: Annotated[Path | None, typer.Argument(help="adapter folder; none for the model as it is")] = None,
    data: Annotated[str, typer.Option(help="scenes, a LLaVA-style JSON file, or a folder with one")] = "scenes",
    model: Annotated[str, typer.Option(help="embedded name, folder or hub id")] = "tiny-llava",
    attack: Annotated[str, typer.Option(help="attack by name")] = "badnets",
    split: Annotated[str, typer.Option(help="train, validation, test or (for files) all")] = "test",
    n: Annotated[int | None, typer.Option(help="number of samples")] = 512,
) -> None:
    """Print attack success rate and utility, on clean and on triggered inputs."""
    from pcvr.attacks import get_attack
    from pcvr.data import open_data
    from pcvr.evaluation.evaluate import evaluate as measure
    from pcvr.models.load import load

    typer.echo(str(measure(load(model, adapter), open_data(data, split=split, n=n), get_attack(attack))))


def main() -> None:
    """Run the command line; what the user can put right is one sentence, not a traceback."""
    try:
        app(standalone_mode=True)
    except PcvrError as problem:
        typer.secho(f"pcvr: {problem}", err=True, fg="red")
        raise SystemExit(2) from None
