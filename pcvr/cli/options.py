"""Options that several commands share. Typer reads them from signatures, so each command lists those it takes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from pcvr.errors import PcvrError, shown

Data = Annotated[str, typer.Option(help="scenes, a file (COCO, Flickr30k, VQAv2, LLaVA JSON) or a folder")]
Images = Annotated[Path | None, typer.Option(help="folder of the images, if not beside the data")]
Annotations = Annotated[Path | None, typer.Option(help="VQAv2: the annotations file for the questions")]
TaskName = Annotated[str | None, typer.Option(help="task by name, by default that of the data; pcvr data lists them")]
Model = Annotated[str, typer.Option(help="embedded name, folder or hub id")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda or mps")]
FourBit = Annotated[bool, typer.Option(help="load in 4 bits; needs CUDA and bitsandbytes")]
EvalBatchSize = Annotated[
    int | None, typer.Option(help="samples answered or scored at a time; by default as many as fit the memory")
]
SkipBad = Annotated[bool, typer.Option(help="leave out unusable entries and list them")]
Turns = Annotated[
    str, typer.Option(help="conversations: together (a sample each) or apart (a sample for each question)")
]
FollowLinks = Annotated[bool, typer.Option("--follow-links", help="follow links that lead out of the folder of images")]
Split = Annotated[
    str | None,
    typer.Option(
        help="train, validation, test or (not for scenes) all; by default the one for this command, or all of data "
        "without splits; a given split of such data is made by a hash of the image names"
    ),
]
Target = Annotated[str | None, typer.Option(help="the answer to triggered images; by default the task's")]
AttackName = Annotated[str, typer.Option(help="attack by name; pcvr attacks lists them")]
Preset = Annotated[str, typer.Option(help="scaled (sized to the image) or compat (the literature's figures)")]
Answer = Annotated[
    str | None,
    typer.Option(help="replace, insert, prefix, suffix, turns or recolour; by default the attack's own way"),
]
CheckTrigger = Annotated[
    bool, typer.Option("--check-trigger/--no-check-trigger", help="raise if the trigger does not reach the model")
]
Options = Annotated[
    list[str] | None, typer.Option(help="an option of the attack as name=value, such as strength=0.5; may be repeated")
]


ATTACKING = "preset answer option target"
"""Parameters that build an attack."""


def refuse_idle(context: typer.Context, names: str, needs: str) -> None:
    """Raise if options were given that would have no effect.

    Args:
        context: of the command.
        names: names of parameters, separated by spaces; only those given on the command line count.
        needs: the end of the sentence: what they go with, or do not go with.
    """
    for name in names.split():
        source = context.get_parameter_source(name)
        if source is not None and source.name != "DEFAULT":
            flag = next(each.opts[0] for each in context.command.params if each.name == name)
            raise PcvrError(f"{flag} {needs}.")


def options_of(pairs: list[str] | None) -> dict[str, Any]:
    """Parse ``["size=4", "place=centre"]`` into ``{"size": 4, "place": "centre"}``: JSON values, else text.

    Raises:
        PcvrError: a pair lacks a name or an equals sign, or the command has its own option for the name.
    """
    found: dict[str, Any] = {}
    for pair in pairs or []:
        name, equals, value = pair.partition("=")
        if not equals or not name.isidentifier():
            raise PcvrError(f"the option {shown(pair)} is not of the form name=value, such as strength=0.5.")
        if name in _OWN:
            raise PcvrError(f"--option {shown(pair)} is not the attack's: give {_OWN[name]} instead.")
        found[name] = value_of(value)
    return found


_OWN = {
    "name": "--attack NAME",
    "target": "--target TEXT",
    "preset": "--preset NAME",
    "answer": "--answer WAY",
    "task": "--task NAME",
}
"""Other arguments of `get_attack`: name to the option of the command."""


def value_of(text: str) -> Any:
    """Parse `text` as JSON, or return it unchanged."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text
