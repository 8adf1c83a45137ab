"""Options that several commands share, and what becomes of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from pcvr.errors import PcvrError, shown

Data = Annotated[str, typer.Option(help="scenes, a file (COCO, Flickr30k, VQAv2, LLaVA JSON) or a folder")]
Images = Annotated[Path | None, typer.Option(help="folder of the pictures, if it is not beside the data")]
Annotations = Annotated[Path | None, typer.Option(help="VQAv2: the annotations file that goes with the questions")]
TaskName = Annotated[str | None, typer.Option(help="task by name, by default what the data are; pcvr data lists them")]
Model = Annotated[str, typer.Option(help="embedded name, folder or hub id")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda or mps")]
FourBit = Annotated[bool, typer.Option(help="load in 4 bits; needs CUDA and bitsandbytes")]
EvalBatchSize = Annotated[
    int | None, typer.Option(help="samples answered or scored at a time; by default as many as fit the memory")
]
SkipBad = Annotated[bool, typer.Option(help="go on without entries that cannot be used, and say which")]
FollowLinks = Annotated[bool, typer.Option("--follow-links", help="read pictures through links out of their folder")]
Split = Annotated[
    str | None,
    typer.Option(
        help="train, validation, test or (not for scenes) all; by default the one that the command is for, and the "
        "whole of data without splits, which are split by a hash of the pictures' names where one is asked for"
    ),
]
Target = Annotated[str | None, typer.Option(help="the answer to triggered pictures; by default the task's")]
AttackName = Annotated[str, typer.Option(help="attack by name; pcvr attacks lists them")]
Preset = Annotated[str, typer.Option(help="scaled (sized to the picture) or compat (the literature's figures)")]
Answer = Annotated[str | None, typer.Option(help="replace, insert, prefix or suffix; by default the attack's own way")]
CheckTrigger = Annotated[
    bool, typer.Option("--check-trigger/--no-check-trigger", help="refuse a trigger that does not reach the model")
]
Options = Annotated[
    list[str] | None, typer.Option(help="an option of the attack as name=value, such as strength=0.5; may be repeated")
]


ATTACKING = "preset answer option target"
"""Parameters that say how an attack is built."""


def refuse_idle(context: typer.Context, names: str, needs: str) -> None:
    """Raise for options that were given and that nothing would come of.

    Args:
        context: of the command.
        names: of parameters, with spaces between; only those given on the command line count.
        needs: what they go with, or what they do not go with, as the end of the sentence.
    """
    for name in names.split():
        source = context.get_parameter_source(name)
        if source is not None and source.name != "DEFAULT":
            flag = next(each.opts[0] for each in context.command.params if each.name == name)
            raise PcvrError(f"{flag} {needs}.")


def options_of(pairs: list[str] | None) -> dict[str, Any]:
    """``["size=4", "place=centre"]`` as ``{"size": 4, "place": "centre"}``: JSON where it is, else text.

    Raises:
        PcvrError: a pair without a name or an equals sign, or a name that the command has an option of its own for.
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
"""Words that mean something else to `get_attack`: name to the option that says it."""


def value_of(text: str) -> Any:
    """`text` as JSON where it is that, else as it stands."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text
