"""Commands that show the models and data."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pcvr.cli.options import Annotations, Device, FollowLinks, FourBit, Images, SkipBad, TaskName, Turns, refuse_idle
from pcvr.cli.screen import Screen, say
from pcvr.errors import PcvrError, shown

if TYPE_CHECKING:
    from pcvr.data.sample import Dataset


_USAGE = {
    "vqav2": "pcvr data QUESTIONS --annotations ANSWERS --images FOLDER",
    "vqav2-answers": "with its questions, see above",
}


def models(
    context: typer.Context,
    name: Annotated[str | None, typer.Argument(help="a model to describe: embedded name, folder or hub id")] = None,
    device: Device = "auto",
    four_bit: FourBit = False,
    data: Annotated[
        int | None, typer.Option(help="also what an epoch on so many samples costs, plain and with PCVR")
    ] = None,
    picture: Annotated[str, typer.Option(help="with --data: size of the pictures, in pixels")] = "640x480",
    tflops: Annotated[
        float | None, typer.Option(help="with --data: TFLOP a second that your device reaches; measured by default")
    ] = None,
) -> None:
    """List the embedded models and the supported families, or describe one model, its memory and the price of PCVR."""
    from rich.table import Column, Table

    from pcvr.models.families import FAMILIES
    from pcvr.models.zoo import EMBEDDED

    if name is None:
        refuse_idle(context, "data", "goes with NAME, the model to price: give both, or neither")
    if data is None:
        refuse_idle(context, "picture tflops", "goes with --data, the number of samples: give both, or neither")
    elif name is not None:
        _price(name, device, four_bit, data, picture, tflops)
        return
    if name is None or name in EMBEDDED:
        refuse_idle(context, "device four_bit", "goes with NAME, the folder or hub id of a model: leave it out")
    if name is not None:
        _describe(name, device, four_bit)
        return
    ours = Table("name", "what it is", "parameters", "file", "quality on unseen scenes", title="Inside the package")
    for model in EMBEDDED.values():
        record = _record(model.folder)
        ours.add_row(model.name, model.about, *_figures(record, model.folder))
    examples = Column("for example", overflow="fold")
    theirs = Table("model type", "what it is", examples, "opens here", title="By hub id or folder")
    for family in FAMILIES.values():
        state = f"with {', '.join(family.missing)}" if family.missing else "yes"
        theirs.add_row(family.model_type, family.about, "\n".join(family.examples), state)
    theirs.add_row("any other", "its parts are found by asking model and processor, then tried out", "", "if found")
    console = Screen()
    console.print(ours)
    console.print(theirs)
    console.print("pcvr models NAME describes one of them, and the memory that it needs.")


def data(
    context: typer.Context,
    spec: Annotated[str | None, typer.Argument(help="data to describe: scenes, an annotation file or a folder")] = None,
    images: Images = None,
    annotations: Annotations = None,
    task: TaskName = None,
    split: Annotated[str, typer.Option(help="train, validation, test or (for files) all")] = "all",
    check: Annotated[bool, typer.Option(help="open every image and report all problems")] = False,
    out: Annotated[Path | None, typer.Option(help="with --check: a file for the full report")] = None,
    skip_bad: SkipBad = False,
    follow_links: FollowLinks = False,
    turns: Turns = "together",
) -> None:
    """List the supported data formats, or describe and check a data set."""
    from rich.table import Table

    from pcvr.data import check_data, open_data
    from pcvr.data.detect import FORMATS
    from pcvr.data.report import is_report
    from pcvr.tasks import TASKS
    from pcvr.utils.places import check_place, rescued

    console = Screen()
    if spec is None:
        others = " ".join(name for name in context.params if name != "spec")
        refuse_idle(context, others, "goes with SPEC, the data to describe: give both, or neither")
        table = Table("data", "what it is", "how to open it", title="Data")
        table.add_row("scenes", "drawn by code: two or three objects, all facts known", "pcvr data scenes")
        for name, about in FORMATS.items():
            table.add_row(name, about, _USAGE.get(name, "pcvr data FILE --images FOLDER"))
        table.add_row("table", "a folder from datasets' save_to_disk", "pcvr data FOLDER")
        asked = Table("task", "what is asked", "attackers' default target", title="Tasks")
        for known in TASKS.values():
            asked.add_row(known.name, known.about, repr(known.target))
        console.print(table)
        console.print(asked)
        return
    if spec == "scenes" and split == "all":
        split = "train"
    if not check:
        refuse_idle(context, "out", "goes with --check, which makes the report: give both, or neither")
    elif spec == "scenes":
        refuse_idle(context, "check", "goes with data from files, and scenes are drawn by code: leave it out")
    else:
        refuse_idle(context, "skip_bad", "does not go with --check, which reports all problems: leave it out")
        if out is not None:
            check_place(out, "file", is_report)
        files: dict[str, Any] = {"images": images, "annotations": annotations, "follow_links": follow_links}
        report = check_data(spec, split, task=task, turns=turns, **files)
        try:  # if one of the two fails, the other is still done
            if out is not None:
                rescued(out, report.write)
        finally:
            say(str(report))
        raise typer.Exit(1 if report else 0)
    # Only opening an image shows that it is broken, so skip_bad opens all of them.
    options: dict[str, Any] = {"skip_bad": skip_bad, "check_pictures": skip_bad, "follow_links": follow_links}
    options |= {"images": images, "annotations": annotations, "turns": turns}
    _show(console, open_data(spec, split, task=task, **options))


def _show(console: Any, found: Dataset) -> None:
    from rich.table import Table

    first = found[0]
    table = Table("", "", show_header=False, title=found.name)
    table.add_row("task", found.task)
    table.add_row("samples", f"{len(found):,}")
    if held := getattr(found, "splits", None):
        table.add_row("splits", ", ".join(f"{name} {count:,}" for name, count in held.items()))
    table.add_row("fingerprint", found.fingerprint())
    table.add_row("first sample", first.id)
    table.add_row("image", f"{first.image.shape[1]} x {first.image.shape[0]} px")
    table.add_row("prompt", first.prompt)
    table.add_row("answer", first.answer)
    table.add_row("references", f"{len(first.references)}")
    if first.system:
        table.add_row("system turn", first.system)
    if first.later:
        table.add_row("later questions", f"{len(first.later)}, each answer a label")
    console.print(table)
    report = getattr(found, "report", None)
    if report is not None and (report.problems or report.notes):
        say(str(report))


def _describe(name: str, device: str, four_bit: bool) -> None:
    from pcvr.models.adapter import adapter_names
    from pcvr.models.zoo import EMBEDDED

    if name in EMBEDDED:
        file = EMBEDDED[name].folder / "README.md"
        say(file.read_text(encoding="utf-8").split("---", 2)[-1].strip() if file.is_file() else name)
        say(f"\nadapters: {', '.join(adapter_names(name)) or 'none'}")
        return
    from pcvr.models.load import describe

    say(describe(name, device, four_bit))


def _price(name: str, device: str, four_bit: bool, samples: int, picture: str, tflops: float | None) -> None:
    from pcvr.experiments.price import describe_epoch
    from pcvr.models.load import outline

    width, _, height = picture.lower().partition("x")
    if not (width.isdigit() and height.isdigit() and 1 <= int(width) <= 20_000 and 1 <= int(height) <= 20_000):
        raise PcvrError(f"picture is {shown(picture)}: give width and height in pixels up to 20000, such as 640x480.")
    model = outline(name, device, four_bit)
    say(str(model))
    say(describe_epoch(model, samples, (int(width), int(height)), tflops))


def _record(folder: Path) -> dict[str, Any]:
    file = folder / "training.json"
    return json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}


def _figures(record: dict[str, Any], folder: Path) -> tuple[str, str, str]:
    """Return the parameters, the size of the file and the quality."""
    if not record:
        return "-", "-", "not made yet: pcvr pretrain"
    size = (folder / "model.safetensors").stat().st_size
    good = [f"{label} {100 * v:.1f} %" for label, v in record.get("quality", {}).items() if isinstance(v, float)]
    return f"{record['parameters'] / 1e6:.2f} M", f"{size / 2**20:.1f} MiB", "\n".join(good) or "-"
