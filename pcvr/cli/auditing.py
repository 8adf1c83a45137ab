"""The command that audits a data set."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Annotated

import typer

from pcvr.cli import options as opt
from pcvr.cli.screen import say
from pcvr.cli.source import Source
from pcvr.errors import PcvrError

Table = Annotated[str, typer.Option("--table", help="csv or parquet: the form of the table of scores")]


def audit(
    data: Annotated[str, typer.Argument(help="scenes, a file (COCO, Flickr30k, VQAv2, LLaVA JSON) or a folder")],
    model: opt.Model = "tiny-llava",
    out: Annotated[Path, typer.Option(help="folder for scores, report and summary; the same command resumes there")] = (
        Path("audit")
    ),
    clean: Annotated[
        Path | None,
        typer.Option(help="write the data without the flagged samples there, with a log; nothing is deleted"),
    ] = None,
    images: opt.Images = None,
    annotations: opt.Annotations = None,
    task: opt.TaskName = None,
    split: opt.Split = None,
    n: Annotated[int | None, typer.Option(help="number of samples; all by default")] = None,
    warm_up: Annotated[
        int, typer.Option(help="steps of plain fine-tuning on the data, to see which losses drop early; 0: none")
    ] = 0,
    attention: Annotated[bool, typer.Option(help="whether attention profiles are read")] = True,
    false_alarms: Annotated[
        float, typer.Option(help="largest expected fraction of clean samples that are flagged")
    ] = 0.001,
    seed: Annotated[int, typer.Option(help="seed of views, ordinary samples and warm-up")] = 0,
    workers: Annotated[int, typer.Option(help="processes that score at the same time; each opens the model")] = 1,
    table: Table = "csv",
    device: opt.Device = "auto",
    four_bit: opt.FourBit = False,
    batch_size: opt.EvalBatchSize = None,
    skip_bad: opt.SkipBad = False,
    follow_links: opt.FollowLinks = False,
) -> None:
    """Look for poison in a data set: score every sample, set a threshold, and write a report.

    Nothing is trained on the data but a short warm-up, if that is asked for, and the data stay as they are.
    """
    from pcvr.auditing.audit import audit as make
    from pcvr.auditing.clean import check_clean
    from pcvr.auditing.config import AuditConfig
    from pcvr.utils.places import check_place

    if table not in ("csv", "parquet"):
        raise PcvrError(f"--table is {table!r}: give csv or parquet.")
    config = AuditConfig(warm_up=warm_up, attention=attention, false_alarms=false_alarms, seed=seed)
    check_place(out, own=lambda folder: (folder / "scores").is_dir() or not any(folder.iterdir()))
    source = Source(data, task, images, annotations, skip_bad, follow_links)
    samples = source.open(split, n, hint=False)  # nothing is evaluated here
    if clean is not None:
        check_clean(samples, clean)
        _check_apart(clean, out, table)
    found = make(
        samples,
        model,
        config=config,
        folder=out / "scores",
        workers=workers,
        batch_size=batch_size,
        device=device,
        four_bit=four_bit,
        progress=sys.stderr.isatty(),
    )
    file = found.save(out / f"scores.{table}")
    found.save_summary(out / "summary.json")
    found.report(out / "report.html", shlex.join(["pcvr", *sys.argv[1:]]))
    source.say()
    say(str(found))
    say(f"{file}: every score; {out / 'report.html'}: the report")
    if clean is not None:
        found.clean(clean)
        say(f"{clean}: {len(found.keep())} of {len(found)} samples; {clean.name}.log.json says which were left out")


def _check_apart(clean: Path, out: Path, table: str) -> None:
    """Raise if the clean data would go where the audit writes something else."""
    taken = [out, *out.parents, *(out / name for name in ("scores", f"scores.{table}", "summary.json", "report.html"))]
    if clean.resolve() in [place.resolve() for place in taken]:
        raise PcvrError(f"--clean is {clean}, where the audit writes into --out {out}: give another place.")
