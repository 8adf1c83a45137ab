"""Commands about attacks: poison data, check poisoned data, list attacks, make the trained triggers again."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pcvr.cli.options import (
    Annotations,
    Answer,
    AttackName,
    CheckTrigger,
    Data,
    FollowLinks,
    Images,
    Options,
    Preset,
    SkipBad,
    Split,
    Target,
    TaskName,
    options_of,
    refuse_idle,
)
from pcvr.cli.screen import Screen, say
from pcvr.cli.source import Source
from pcvr.errors import PcvrError, first_line

if TYPE_CHECKING:
    from pcvr.attacks import Manifest
    from pcvr.data.sample import Dataset


def poison(
    context: typer.Context,
    out: Annotated[Path, typer.Argument(help="folder to make, or with --verify to check")],
    data: Data = "scenes",
    images: Images = None,
    annotations: Annotations = None,
    task: TaskName = None,
    attack: AttackName = "badnets",
    preset: Preset = "scaled",
    answer: Answer = None,
    option: Options = None,
    target: Target = None,
    rate: Annotated[float, typer.Option(help="share of samples to poison, (0, 1]")] = 0.05,
    n: Annotated[int | None, typer.Option(help="number of samples; all by default")] = None,
    seed: Annotated[int, typer.Option(help="which samples are drawn")] = 0,
    form: Annotated[str, typer.Option(help="llava (JSON and pictures) or datasets (a table)")] = "llava",
    model: Annotated[
        str | None, typer.Option(help="the model to attack: its processor says what it sees; places seen_... need it")
    ] = None,
    check_trigger: CheckTrigger = True,
    verify: Annotated[bool, typer.Option("--verify", help="check the folder OUT against its manifest instead")] = False,
    split: Split = None,
    skip_bad: SkipBad = False,
    follow_links: FollowLinks = False,
) -> None:
    """Poison a data set for research and write it with its manifest; run again after an interruption, it goes on.

    DATA may be a folder that was poisoned before: then a second attacker joins the first, and the manifest names both.
    """
    from pcvr.attacks import get_attack, load_poisoned, save_poisoned
    from pcvr.attacks import poison as make
    from pcvr.attacks.checksums import holds_manifest
    from pcvr.utils.places import check_place

    if verify:
        others = " ".join(name for name in context.params if name not in ("out", "verify"))
        refuse_idle(context, others, "does not go with --verify, which checks a folder as it is: leave it out")
        for line in story(out):
            say(line)
        return
    if model is None:
        refuse_idle(context, "check_trigger", "goes with --model NAME, which it is to reach: give both, or neither")
    check_place(out)
    source = Source(data, task, images, annotations, skip_bad, follow_links)
    if holds_manifest(data):
        kept = f"does not go with {data}, which is poisoned already: leave it out, its samples stay as they are"
        refuse_idle(context, "n task images annotations split skip_bad follow_links", kept)
        samples: Dataset = load_poisoned(data)
    else:
        samples = source.open(split, n)
    chosen = get_attack(attack, target, preset, task=samples.task, answer=answer, **options_of(option))
    poisoned = make(samples, chosen, rate, seed, model=model, check_trigger=check_trigger)
    save_poisoned(poisoned, out, form=form)
    source.say()
    say(f"{out}: {counts(poisoned.manifest, len(poisoned))} with {attack}, manifest.json says how")


def story(folder: Path) -> list[str]:
    """What a folder of poisoned data says of itself, after all of it was checked.

    Raises:
        PcvrError: it is none, or files or samples do not fit manifest and checksums.
    """
    from pcvr.attacks import load_poisoned

    found = load_poisoned(folder)
    lines = [f"{folder}: {len(found)} samples, every file and every altered sample as the manifest says"]
    for manifest in found.manifest.chain():
        lines.append(
            f"{manifest.attack.get('name')} ({manifest.attack.get('preset')}): {counts(manifest, len(found))}, "
            f"target {manifest.target!r}, seed {manifest.seed}, {manifest.date}"
        )
    return [*lines, found.manifest.purpose]


def counts(manifest: Manifest, n: int) -> str:
    """How many samples were altered, in words."""
    text = f"{manifest.count} of {n} samples poisoned"
    covers = sum(len(part) for part in manifest.covers.values())
    return text + (f", {covers} more as cover" if covers else "")


def attacks() -> None:
    """List the attacks."""
    from rich.table import Table

    from pcvr.attacks import ATTACKS, get_attack

    table = Table("attack", "changes", "answer", "what it is")
    for name, builder in ATTACKS.items():
        about = " ".join((builder.__doc__ or "").strip().split("\n\n")[0].split())
        try:
            attack = get_attack(name)
        except PcvrError as problem:  # a file of a trained trigger is missing, say
            table.add_row(name, "-", "-", first_line(problem))
            continue
        changed = [w for w, part in (("picture", attack.trigger), ("prompt", attack.prompt)) if part is not None]
        table.add_row(name, " and ".join(changed) or "training pictures", attack.answer, about)
    Screen().print(table)
    for said in ATTACKS.broken().values():
        say(f"note: {said}", err=True)


def craft(
    context: typer.Context,
    what: Annotated[str, typer.Argument(help="vl-trojan (a patch) or issba (an encoder)")],
    out: Annotated[Path | None, typer.Option(help="file to make; by default build/crafted/...")] = None,
    model: Annotated[str, typer.Option(help="vl-trojan: the model to search against")] = "tiny-llava",
    steps: Annotated[int | None, typer.Option(help="steps; the default made the shipped one")] = None,
    seed: Annotated[int, typer.Option(help="of the search or training")] = 0,
) -> None:
    """Make a trained trigger: the shipped ones again, or a patch against a model of your own."""
    from pcvr.attacks.triggers.crafting import craft as make

    if what == "issba":
        refuse_idle(context, "model", "goes with vl-trojan, an encoder is trained without a model: leave it out")
    file, record = make(what, out, model=model, steps=steps, seed=seed, progress=True)
    say(f"{file}: " + ", ".join(f"{name} {value}" for name, value in record.items()))
