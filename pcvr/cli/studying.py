"""The command that runs a plan, and that shows, checks and reports what its store holds."""

from __future__ import annotations

import shlex
import shutil
import sys
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pcvr.cli import options as opt
from pcvr.cli.screen import Screen, say
from pcvr.errors import PcvrError

if TYPE_CHECKING:
    from pcvr.experiments.study import Plan, Store
    from pcvr.experiments.study.runner import Progress, Summary

_RUNNING = "jobs threads backend address"
STARTS = "starts"
"""Folder in the store for plain fine-tunings that cells share; it may be removed at any time."""
_FAILED = 1
"""Exit code if a cell failed, or was not made again as it was."""


def study(
    context: typer.Context,
    plan: Annotated[Path, typer.Argument(help="a Python file with PLAN, a list of experiments, or plan()")],
    store: Annotated[
        Path | None, typer.Option(help="folder of the results; by default runs/study/NAME-OF-PLAN")
    ] = None,
    jobs: Annotated[
        int | None, typer.Option(help="cells at a time; by default 1, or with --address as many as there are workers")
    ] = None,
    threads: Annotated[
        int | None, typer.Option(help="torch threads of a cell; by default the cores divided by --jobs")
    ] = None,
    backend: Annotated[str, typer.Option(help="loky (processes of this machine), dask or ray")] = "loky",
    address: Annotated[str | None, typer.Option(help="dask, ray: the scheduler; by default a local cluster")] = None,
    only: Annotated[list[str] | None, typer.Option(help="this row of the plan; may be repeated")] = None,
    list_: Annotated[bool, typer.Option("--list", help="run nothing, list the plan's cells")] = False,
    print_: Annotated[bool, typer.Option("--print", help="run nothing, print the tables")] = False,
    html: Annotated[Path | None, typer.Option(help="run nothing, write the report to this file")] = None,
    reproduce: Annotated[
        str | None, typer.Option(metavar="CELL", help="make this cell again and compare it; store nothing")
    ] = None,
    import_: Annotated[
        list[str] | None,
        typer.Option("--import", metavar="TABLE", help="run nothing, take a table's runs; may be repeated"),
    ] = None,
    withdraw: Annotated[
        list[str] | None,
        typer.Option(metavar="CELL", help="run nothing, take this result out, so that the cell is run again"),
    ] = None,
    because: Annotated[str, typer.Option(help="with --withdraw: why")] = "",
) -> None:
    """Run what the store lacks of a plan; call it again after any interruption.

    A cell is named by its key or the beginning of it. A row is a label of the plan.
    """
    from pcvr.experiments.study import Store, load_plan

    asked = {"--list": list_, "--print": print_, "--html": html, "--import": import_, "--withdraw": withdraw}
    quiet = [name for name, value in asked.items() if value]
    if reproduce is not None and quiet:
        raise PcvrError(f"--reproduce and {quiet[0]} are two different things to do: give one of them.")
    if reproduce is not None or quiet:
        name = "--reproduce" if reproduce is not None else quiet[0]
        opt.refuse_idle(context, _RUNNING, f"is for running the plan, but {name} runs nothing of it: leave one out")
    if reproduce is not None or not (list_ or print_ or html or not quiet):
        opt.refuse_idle(context, "only", "chooses rows of the plan, which this call does not use: leave it out")
    if not withdraw:
        opt.refuse_idle(context, "because", "goes with --withdraw CELL: give both, or neither")
    whole = load_plan(plan)
    chosen = whole.only(only or [])
    place = Store(store or Path("runs") / "study" / whole.name)
    if reproduce is not None:
        _reproduce(place, reproduce)
    for table in import_ or []:
        _import(place, table)
    if withdraw:
        _withdraw(place, withdraw, because)
    if list_:
        _list(chosen, place)
    if print_:
        _print(chosen, place)
    if html is not None:
        _report(chosen, place, html)
    if reproduce is None and not quiet:
        _run(chosen, place, jobs=jobs, threads=threads, backend=backend, address=address)


def command() -> str:
    """Return this process's command, without options that do not change a result."""
    words, skip = [], False
    for word in sys.argv[1:]:
        if not skip and word.partition("=")[0] in ("--store", "--only", "--address"):
            skip = "=" not in word
        elif skip:
            skip = False
        else:
            words.append(word)
    return shlex.join(["pcvr", *words])


def _run(plan: Plan, store: Store, *, jobs: int | None, threads: int | None, backend: str, address: str | None) -> None:
    from pcvr.experiments.study.plan import check_plan
    from pcvr.experiments.study.runner import run_study
    from pcvr.experiments.study.worker import run_cell

    store.check()
    check_plan(plan)
    summary = run_study(
        plan,
        store,
        jobs=jobs,
        threads=threads,
        backend=backend,
        address=address,
        # Results are the same without; a folder that cannot be seen from here may be another machine's.
        run=partial(run_cell, starts=store.folder.absolute() / STARTS),
        made_by=command(),
        told=lambda progress: say(line_of(progress), err=True),
    )
    for note in summary.mended:
        say(f"note: {note}.", err=True)
    say(f"{store.folder}: {summed(summary)}")
    for key, error in summary.failed.items():
        say(f"failed: {key} {plan.cells[key].label}, {plan.cells[key].attack}: {error}", err=True)
    if summary.failed:
        say(f"the tracebacks are in {store.side_file}; the same command tries these cells again.", err=True)
        raise SystemExit(_FAILED)


def summed(summary: Summary) -> str:
    """Describe what a call has done, in a line."""
    failed = f", {len(summary.failed)} failed" if summary.failed else ""
    return f"{len(summary.made)} cells made{failed}, {summary.there} were there"


def line_of(progress: Progress) -> str:
    """Return the line that is printed after a cell."""
    from pcvr.evaluation.intervals import format_rate
    from pcvr.experiments.study.timing import in_words

    cell, found = progress.cell, progress.found
    name = f"{cell.label}, {cell.attack} {100 * cell.rate:g} %, {cell.task}, {cell.model}, seed {cell.seed}"
    if "error" in found:
        said = f"failed: {found['error']}"
    else:
        record = found["record"]
        rate = format_rate(record["hits"], record["n"] if record.get("aimed") is None else record["aimed"])
        said = f"ASR {rate}, {in_words(found['wall'])}"
    ended = progress.done + progress.failed
    left = f"; left: {progress.left}" if ended < progress.total else ""
    return f"[{ended}/{progress.total}] {name}: {said}{left}"


def _reproduce(store: Store, cell: str) -> None:
    from rich.table import Table

    from pcvr.experiments.study import reproduce

    found = reproduce(store, cell)
    table = Table("", "in the store", "made again", "", title=f"{found.key} {found.label}")
    for figure in found.figures:
        judged = {True: "agrees", False: f"differs by more than {figure.allowed or 0:g}", None: ""}[figure.good]
        table.add_row(figure.name, *("-" if v is None else f"{v:.6g}" for v in (figure.before, figure.now)), judged)
    Screen().print(table)
    for name, count in found.other_samples.items():
        say(f"{name.replace('_', ' ')}: {count} test samples came out otherwise")
    for name, (then, now) in found.other_setup.items():
        say(f"{name}: {then} then, {now} now")
    for note in found.notes:
        say(f"note: {note}.", err=True)
    say("the cell was reproduced." if found.good else "the cell was not reproduced.")
    if not found.good:
        raise SystemExit(_FAILED)


def _import(store: Store, table: str) -> None:
    from pcvr.experiments.study import import_table

    found = import_table(store, table)
    say(f"{table}: {found.taken} runs taken, {found.there} were there")
    for why, count in found.left_out.items():
        say(f"note: {count} runs left out: {why}.", err=True)


def _withdraw(store: Store, cells: list[str], why: str) -> None:
    found = [store.find(cell) for cell in cells]
    keys = [record["key"] for record in found]
    with store.writing() as writer:
        for key in keys:
            writer.withdraw(key, why)
    for record in found:
        _forget_start(store, record)
    say(f"{store.folder}: {len(keys)} results withdrawn; their lines stay in {store.file.name}")


def _forget_start(store: Store, record: Mapping[str, Any]) -> None:
    """Remove the plain fine-tunings that a cell began with: what was wrong may lie in them."""
    from pcvr.experiments.run import plain_twin
    from pcvr.experiments.study.tables import experiment_of

    try:
        twin = plain_twin(experiment_of(record))
    except PcvrError:  # of an older table: no cell of today begins with it
        return
    for start in (store.folder / STARTS).glob(f"{twin.key}*"):
        shutil.rmtree(start, ignore_errors=True)


def _list(plan: Plan, store: Store) -> None:
    from rich.table import Column, Table

    frame, failures = store.read(), store.failures()
    made = {run["key"]: run for run in frame.to_dict("records")}
    whole = Column("cell", no_wrap=True, min_width=max(map(len, plan.cells)))  # a cut key names no cell
    table = Table(
        whole, "row", "model", "task", "attack", "poison", "seed", "state", title=f"{plan.name}: {store.folder}"
    )
    for key, cell in plan.cells.items():
        state = "failed" if key in failures else "not run"
        if key in made:
            threads = made[key]["threads"]
            state = "done" if threads != threads or threads is None else f"done, {threads:.0f} threads"
        table.add_row(
            key, cell.label, cell.model, cell.task, cell.attack, f"{100 * cell.rate:g} %", str(cell.seed), state
        )
    Screen().print(table)
    say(f"{sum(key in made for key in plan.cells)} of {len(plan.cells)} cells are done")


def _print(plan: Plan, store: Store) -> None:
    from rich.table import Table

    from pcvr.experiments.study.sheets import sheets_of

    for sheet in sheets_of(plan, store.read()):
        table = Table("defence", *sheet.columns.values(), title=f"{sheet.title}: attack success", title_justify="left")
        for row in sheet.rows:
            table.add_row(row, *(sheet.text(row, column) for column in sheet.columns))
        Screen().print(table)


def _report(plan: Plan, store: Store, file: Path) -> None:
    from pcvr.plots.study_report import write_report
    from pcvr.utils.places import check_place

    check_place(file, "file", own=lambda there: there.suffix in (".html", ".htm"), hint="choose a name ending in .html")
    write_report(plan, store, file, shlex.join(["pcvr", *sys.argv[1:]]))
    say(f"{file}: the report")
