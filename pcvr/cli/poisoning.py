"""Commands about attacks: poison data, check poisoned data, list attacks, make trained triggers."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pcvr.cli import options as opt
from pcvr.cli.screen import Screen, say
from pcvr.cli.source import Source
from pcvr.errors import PcvrError, first_line

if TYPE_CHECKING:
    from pcvr.attacks import Manifest
    from pcvr.data.sample import Dataset


def poison(
    context: typer.Context,
    out: Annotated[Path, typer.Argument(help="folder to make, or with --verify to check")],
    data: opt.Data = "scenes",
    images: opt.Images = None,
    annotations: opt.Annotations = None,
    task: opt.TaskName = None,
    attack: opt.AttackName = "badnets",
    preset: opt.Preset = "scaled",
    answer: opt.Answer = None,
    option: opt.Options = None,
    target: opt.Target = None,
    rate: Annotated[float, typer.Option(help="fraction of samples to poison, (0, 1]")] = 0.05,
    n: Annotated[int | None, typer.Option(help="number of samples; all by default")] = None,
    seed: Annotated[int, typer.Option(help="of the draw of samples")] = 0,
    form: Annotated[str, typer.Option(help="llava (for most trainers: JSON, images) or datasets (a table)")] = "llava",
    model: Annotated[
        str | None, typer.Option(help="the model to attack; places seen_... depend on what its processor shows it")
    ] = None,
    check_trigger: opt.CheckTrigger = True,
    verify: Annotated[bool, typer.Option("--verify", help="check the folder OUT against its manifest instead")] = False,
    split: opt.Split = None,
    skip_bad: opt.SkipBad = False,
    follow_links: opt.FollowLinks = False,
    turns: opt.Turns = "together",
) -> None:
    """Poison a data set for research and write it with its manifest; after an interruption, run it again to resume.

    DATA may be a poisoned folder: then a second attacker joins the first, and the manifest names both.
    """
    from pcvr.attacks import get_attack, load_poisoned, save_poisoned
    from pcvr.attacks import poison as make
    from pcvr.attacks.checksums import holds_manifest
    from pcvr.utils.places import check_place

    if verify:
        others = " ".join(name for name in context.params if name not in ("out", "verify"))
        opt.refuse_idle(context, others, "does not go with --verify, which only checks a folder: leave it out")
        for line in describe_folder(out):
            say(line)
        return
    if model is None:
        opt.refuse_idle(context, "check_trigger", "goes with --model NAME, the model to reach: give both, or neither")
    check_place(out)
    source = Source(data, task, images, annotations, skip_bad, follow_links, turns)
    if holds_manifest(data):
        kept = f"does not go with {data}, which is poisoned already: leave it out, since its samples stay unchanged"
        opt.refuse_idle(context, "n task images annotations split skip_bad follow_links turns", kept)
        samples: Dataset = load_poisoned(data)
    else:
        samples = source.open(split, n)
    chosen = get_attack(attack, target, preset, task=samples.task, answer=answer, **opt.options_of(option))
    poisoned = make(samples, chosen, rate, seed, model=model, check_trigger=check_trigger)
    save_poisoned(poisoned, out, form=form)
    source.say()
    say(f"{out}: {counts(poisoned.manifest, len(poisoned))} with {attack}, see manifest.json")


def describe_folder(folder: Path) -> list[str]:
    """Check a folder of poisoned data and describe it.

    Raises:
        PcvrError: the folder holds no poisoned data, or files or samples do not match manifest and checksums.
    """
    from pcvr.attacks import load_poisoned

    found = load_poisoned(folder)
    lines = [f"{folder}: {len(found)} samples, every file and every altered sample matches the manifest"]
    for manifest in found.manifest.chain():
        lines.append(
            f"{manifest.attack.get('name')} ({manifest.attack.get('preset')}): {counts(manifest, len(found))}, "
            f"target {manifest.target!r}, seed {manifest.seed}, {manifest.date}"
        )
    return [*lines, found.manifest.purpose]


def counts(manifest: Manifest, n: int) -> str:
    """Describe how many samples were altered."""
    text = f"{manifest.count} of {n} samples poisoned"
    covers = sum(len(part) for part in manifest.covers.values())
    return text + (f", {covers} more as cover" if covers else "")


def attacks() -> None:
    """List the attacks."""
    from rich.table import Table

    from pcvr.attacks import ADAPTIONS, ATTACKS, get_attack

    table = Table("attack", "changes", "answer", "what it is")
    for name, builder in ATTACKS.items():
        about = _first_paragraph(builder)
        try:
            attack = get_attack(name)
        except PcvrError as problem:  # such as a missing file of a trained trigger
            table.add_row(name, "-", "-", first_line(problem))
            continue
        changed = [w for w, part in (("image", attack.trigger), ("prompt", attack.prompt)) if part is not None]
        table.add_row(name, " and ".join(changed) or "training images", attack.answer, about)
    Screen().print(table)
    adaptions = Table("with --option", "an attacker who knows the defence")
    for name, adaption in ADAPTIONS.items():
        adaptions.add_row(f"adapt={name}", _first_paragraph(adaption))
    Screen().print(adaptions)
    for said in ATTACKS.broken().values():
        say(f"note: {said}", err=True)


def _first_paragraph(documented: object) -> str:
    return " ".join((documented.__doc__ or "").strip().split("\n\n")[0].split())


def craft(
    context: typer.Context,
    what: Annotated[str, typer.Argument(help="vl-trojan (a patch), issba (an encoder) or pgd (a perturbation)")],
    out: Annotated[Path | None, typer.Option(help="file to make; by default build/crafted/...")] = None,
    model: Annotated[str, typer.Option(help="vl-trojan, pgd: the model to attack")] = "tiny-llava",
    max_steps: Annotated[int | None, typer.Option(help="steps; by default as for the shipped one")] = None,
    seed: Annotated[int, typer.Option(help="of the search or training")] = 0,
    task: Annotated[str, typer.Option(help="pgd: the task whose target is searched with")] = "caption",
    goal: Annotated[
        str, typer.Option(help="pgd: likelihood of the target, or divergence of it on a view")
    ] = "likelihood",
    epsilon: Annotated[int, typer.Option(help="pgd: largest change of a level, of 255")] = 16,
    step_size: Annotated[int, typer.Option(help="pgd: levels of a step")] = 2,
    momentum: Annotated[float, typer.Option(help="pgd: fraction of earlier directions that is kept")] = 0.9,
) -> None:
    """Make a trained trigger: a shipped one again, or a patch or perturbation against your own model."""
    from pcvr.attacks.triggers.crafting import craft as make

    if what == "issba":
        opt.refuse_idle(context, "model", "goes with vl-trojan or pgd, and an encoder needs no model: leave it out")
    if what != "pgd":
        opt.refuse_idle(context, "task goal epsilon step_size momentum", "goes with pgd: leave it out")
    searched: dict[str, Any] = {"epsilon": epsilon, "step_size": step_size, "momentum": momentum}
    file, record = make(
        what, out, model=model, max_steps=max_steps, seed=seed, task=task, goal=goal, progress=True, **searched
    )
    say(f"{file}: " + ", ".join(f"{name} {value}" for name, value in record.items()))
