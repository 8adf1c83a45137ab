"""Defences on the command line: their options, their list, and trusted samples."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import MISSING, Field, fields, is_dataclass, replace
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pcvr.cli.options import value_of
from pcvr.cli.screen import Screen, say
from pcvr.cli.source import Source
from pcvr.errors import PcvrError, shown
from pcvr.utils.renamed import current_path

if TYPE_CHECKING:
    from pcvr.data.sample import Dataset
    from pcvr.defenses import Defense

DefenseName = Annotated[str, typer.Option(help="defence by name; pcvr defenses lists them")]
DefenseOptions = Annotated[
    list[str] | None,
    typer.Option(help="an option of the defence as name=value, such as cap=0.3 or view.fraction=0.6; may be repeated"),
]


def defense_of(name: str, pairs: Sequence[str] | None) -> Defense:
    """Return the defence `name` with options such as ``cap=0.3``, ``scan_at=0.1,0.3`` or ``view.fraction=0.6``.

    A view may come whole, as ``view=mean:1``, and options by their old names.

    Raises:
        PcvrError: unknown name or option, a pair of another form, or a value of the wrong kind or out of range.
    """
    from pcvr.defenses import DEFENSES, build_defense

    if name not in DEFENSES:
        return build_defense(name, {})  # raises, and suggests the nearest name
    defaults = {f.name: _default(f) for f in fields(DEFENSES[name])}
    options: dict[str, Any] = {}
    for pair in pairs or []:
        path, equals, text = pair.partition("=")
        option, *parts = current_path(DEFENSES[name], path).split(".")
        if not equals or len(parts) > 1 or not all(p.isidentifier() for p in (option, *parts)):
            form = "name=value, such as cap=0.3 or view.fraction=0.6"
            raise PcvrError(f"the option {shown(pair)} is not of the form {form}.")
        default = defaults.get(option)
        if not is_dataclass(default):
            if parts:
                raise PcvrError(f"option {option!r} of defence {name!r} has no parts: give {option}=value.")
            options[option] = _value(option, text, default)
            continue
        names = [f.name for f in fields(default)]
        words = [text] if parts else text.split(":")
        if len(words) > len(names):
            raise PcvrError(f"{shown(pair)} has {len(words)} parts: {option} takes at most {':'.join(names)}.")
        given = options.setdefault(option, {})
        for part, word in zip(parts or names, words, strict=False):
            given[part] = _value(f"{option}.{part}", word, getattr(default, part, None))
    return build_defense(name, options)


def trusted(clean: str, source: Source, split: str | None) -> Dataset:
    """Return the samples that the defender trusts: some of the data's validation split, or other data.

    Args:
        clean: number of samples, or the name of other data.
        source: the training data.
        split: their split.

    Raises:
        PcvrError: a number of samples where the training data are poisoned or are the validation split, or data that
            cannot be opened.
    """
    from pcvr.attacks.checksums import holds_manifest
    from pcvr.data.split import canonical

    if not clean.isdecimal():
        return replace(source, data=clean).open(None, prefer="validation")
    if holds_manifest(source.data):
        raise PcvrError(
            f"--clean {clean} would take samples from {source.data}, which is poisoned: give clean data by name."
        )
    if split is not None and canonical(split) in ("validation", "all"):
        raise PcvrError(
            f"--clean {clean} takes samples of the validation split, which --split {split} trains on: give --split "
            "train, or --clean with other data."
        )
    return source.open("validation", int(clean))


def defenses(
    name: Annotated[str | None, typer.Argument(help="show this defence only")] = None,
) -> None:
    """List the defences with their needs and options."""
    from rich.table import Table
    from rich.text import Text

    from pcvr.defenses import DEFENSES, get_defense

    if name is not None:
        get_defense(name)
    console = Screen()
    for known, kind in DEFENSES.items():
        if name not in (None, known):
            continue
        needs = ["trusted samples (--clean)"] if kind.needs_clean else []
        needs += ["itself at test time"] if kind.answers_at_test_time() else []
        about = " ".join((kind.__doc__ or "").strip().split("\n\n")[0].split())
        table = Table("option", "default", "what it is", title=known, title_justify="left", caption_justify="left")
        for option in fields(kind):
            table.add_row(option.name, _shown(_default(option)), str(option.metadata.get("help", "")))
        told = f": {about}" + (f" Needs {' and '.join(needs)}." if needs else "")
        console.print(Text.assemble((known, "bold"), told))
        if table.row_count:
            table.title = None
            console.print(table)
    for said in DEFENSES.broken().values():
        say(f"note: {said}", err=True)


def _default(option: Field[Any]) -> Any:
    if option.default is not MISSING:
        return option.default
    return None if option.default_factory is MISSING else option.default_factory()


def _value(name: str, text: str, default: Any) -> Any:
    """Return `text` as JSON, or as it is where it is not JSON; it must be of the default's type."""
    if isinstance(default, tuple):
        text = text if text.startswith("[") else f"[{text}]"
    value = value_of(text)
    number = isinstance(value, int | float) and not isinstance(value, bool)
    for kind, fits, expected in (
        (bool, isinstance(value, bool), "true or false"),
        ((int, float), number, "a number"),
        (str, isinstance(value, str), "a word"),
        (tuple, isinstance(value, list), "numbers such as 0.05,0.3"),
    ):
        if isinstance(default, kind):
            if not fits:
                usual = f"as the default {_shown(default)} is"
                raise PcvrError(f"option {name} is {shown(text)}: give {expected}, {usual}.")
            break
    return value


def _shown(value: Any) -> str:
    if is_dataclass(value):
        return ":".join(_shown(getattr(value, f.name)) for f in fields(value))
    if isinstance(value, tuple):
        return ",".join(map(_shown, value))
    return value if isinstance(value, str) else json.dumps(value, default=str)
