"""Commands that evaluate a model and make a checkpoint."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from pcvr.cli import options as opt
from pcvr.cli.screen import Screen, say
from pcvr.cli.source import Source

_TESTS = 512
"""Largest number of test samples without --n."""


def pretrain(
    name: Annotated[str, typer.Argument(help="embedded model to make from scratch, such as tiny-llava")],
    out: Annotated[Path, typer.Option(help="folder for the checkpoint")] = Path("build/checkpoints"),
    max_steps: Annotated[int | None, typer.Option(help="optimiser steps; by default as for the shipped one")] = None,
    work: Annotated[Path, typer.Option(help="folder for intermediate states, to resume from")] = Path("runs/pretrain"),
) -> None:
    """Make an embedded checkpoint again and compare it with the shipped one; run it again to resume."""
    from rich.table import Table

    from pcvr.models.zoo import embedded
    from pcvr.pretraining.config import recipe_of
    from pcvr.pretraining.remake import against_shipped, remake

    embedded(name)  # raises for an unknown name before anything is drawn
    config = recipe_of(name) if max_steps is None else recipe_of(name).shortened(max_steps)
    record = remake(name, out / name, config, work)
    table = Table("", "made again", "shipped", title=f"{out / name}")
    for row in against_shipped(record):
        table.add_row(*row)
    Screen().print(table)


def evaluate(
    context: typer.Context,
    adapter: Annotated[Path | None, typer.Argument(help="adapter folder; none for the base model")] = None,
    data: opt.Data = "scenes",
    images: opt.Images = None,
    annotations: opt.Annotations = None,
    task: opt.TaskName = None,
    model: opt.Model = "tiny-llava",
    device: opt.Device = "auto",
    four_bit: opt.FourBit = False,
    attack: Annotated[str, typer.Option(help="attack by name; none for clean inputs only")] = "badnets",
    preset: opt.Preset = "scaled",
    answer: opt.Answer = None,
    option: opt.Options = None,
    target: opt.Target = None,
    split: opt.Split = None,
    n: Annotated[int | None, typer.Option(help="number of samples; by default up to 512")] = None,
    eval_batch_size: opt.EvalBatchSize = None,
    max_new_tokens: Annotated[int | None, typer.Option(help="answer budget in tokens; by default the task's")] = None,
    skip_bad: opt.SkipBad = False,
    check_trigger: opt.CheckTrigger = True,
    follow_links: opt.FollowLinks = False,
    turns: opt.Turns = "together",
    guard: Annotated[
        bool, typer.Option("--guard/--no-guard", help="answer through the adapter's test-time defence, if it has one")
    ] = True,
    out: Annotated[Path | None, typer.Option(help="a JSON file for the record")] = None,
) -> None:
    """Print attack success rate and utility, on clean and on triggered inputs.

    An adapter that was trained with a test-time defence answers through it.
    """
    from pcvr.attacks import get_attack
    from pcvr.defenses.load import load
    from pcvr.evaluation.evaluate import evaluate as measure
    from pcvr.utils.files import write_json
    from pcvr.utils.places import check_place, rescued

    if attack == "none":
        idle = "goes with an attack, but --attack none is given: leave one of them out"
        opt.refuse_idle(context, f"{opt.ATTACKING} check_trigger", idle)
    if out is not None:
        check_place(out, "file")
    source = Source(data, task, images, annotations, skip_bad, follow_links, turns)
    tests = source.open(split, n, prefer="test", most=_TESTS)
    chosen = None
    if attack != "none":
        chosen = get_attack(attack, target, preset, task=tests.task, answer=answer, **opt.options_of(option))
    vlm = load(model, adapter, device=device, four_bit=four_bit)
    sized: dict[str, Any] = {"batch_size": eval_batch_size, "max_new_tokens": max_new_tokens, "progress": True}
    record = measure(vlm, tests, chosen, check_trigger=check_trigger, guard=guard, **sized)
    try:  # if one of the two fails, the other is still done
        if out is not None:
            record_of_run = {
                "adapter": None if adapter is None else str(adapter),
                "defense": record.guard,
                **record.to_dict(answers=True),
            }
            rescued(out, lambda place: write_json(place, record_of_run, new=True))
    finally:
        source.say()
        say(str(record))
