"""What the scripts in ``benchmarks/`` share: a declared list of experiments, a command line, and one way to a table."""

from __future__ import annotations

import shlex
import sys
from argparse import ArgumentParser, Namespace, RawDescriptionHelpFormatter
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from pcvr.errors import PcvrError
from pcvr.evaluation.metrics import get_metric
from pcvr.experiments.experiment import Experiment
from pcvr.experiments.results import FOLDER, Table, read, ready, row_of, save, setup_here
from pcvr.experiments.run import run_experiment
from pcvr.experiments.sweeps import sweep
from pcvr.utils.checks import check_choice, check_whole

Runs = Sequence[Mapping[str, Any]]
"""What `run_experiment` returned for each run."""


def table_parser(name: str, about: str | None) -> ArgumentParser:
    """Return the options of a script that makes a table; add the script's own.

    Args:
        name: of the table.
        about: the help text.
    """
    parser = ArgumentParser(description=about, formatter_class=RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, default=1, help="runs at a time; they share the cores")
    parser.add_argument(
        "--only",
        action="append",
        default=[],
        metavar="ROW",
        help="make this row again, or add it, and keep the table's others; may be given several times",
    )
    parser.add_argument(
        "--missing", action="store_true", help="run only what the table lacks, and write it after each row"
    )
    parser.add_argument("--out", type=Path, default=FOLDER / f"{name}.json", help="the table")
    parser.add_argument("--runs", type=Path, default=Path("runs") / name, help="where runs lie until the table stands")
    parser.add_argument("--print", action="store_true", help="run nothing, print the table that is there")
    return parser


def make_table(
    given: Namespace,
    plan: Sequence[Experiment],
    *,
    more: Sequence[Experiment] = (),
    by: str = "label",
    run: Callable[..., dict[str, Any]] = run_experiment,
    follow: Callable[[Runs], Sequence[Experiment]] | None = None,
    base: Callable[[], Mapping[str, Any]] | None = None,
    finish: Callable[[Runs], Runs] | None = None,
    adapters: bool = False,
    notes: Sequence[str] = (),
) -> Table:
    """Run the experiments that are asked for and write their table; with ``--print`` only read it.

    The table is written once, at the end. Until then the runs lie in the folder ``--runs``: a call that was interrupted
    goes on where it was. With ``--missing`` the table itself is gone on with: it may take several days, on several
    machines, and each run says under which set-up it was made.

    Args:
        given: the parsed options, see `table_parser`.
        plan: the experiments of a whole table, in the order of its rows.
        more: experiments that are run only where ``--only`` asks for their row.
        by: the field of an experiment that names its row.
        run: runs one experiment, see `sweep`.
        follow: the experiments that the runs so far ask for; it is called until there are none.
        base: evaluates the model before any fine-tuning; called for a whole table.
        finish: called with the runs before they are written, and returns what is written.
        adapters: whether each run's adapter is kept in ``--runs``, in a folder with the name of the run's key.
        notes: what a reader has to know of how the table came about, one sentence each.

    Raises:
        PcvrError: an unknown row, a table that cannot be written, or ``--missing`` for a table with a `finish`.
    """
    if given.print:
        return read(given.out)
    check_whole("--jobs", given.jobs, 1)
    wanted = _chosen([*plan, *more], by, given.only) if given.only else list(plan)
    ready(given.out)
    made_by = command()
    noted = partial(_noted, run, setup_here(made_by, given.jobs))
    if given.missing:
        if finish:
            raise PcvrError("--missing is for tables whose runs stand alone: leave it out to make this one.")
        return _completed(given, wanted, by, partial(sweep, adapters=adapters, run=noted), follow, base, notes)
    ran: list[Experiment] = []
    done: list[dict[str, Any]] = []
    while wanted:
        done += sweep(wanted, given.runs, jobs=given.jobs, adapters=adapters, run=noted)
        ran += wanted
        wanted = list(follow(done)) if follow else []
    runs = finish(done) if finish else done
    before = base() if base and not given.only else None
    table = save(given.out, made_by, runs, before, given.jobs, by=by, keep=bool(given.only), notes=notes)
    for each in ran:
        (given.runs / f"{each.key}.json").unlink(missing_ok=True)  # the table has it: the next call runs it again
    return table


def _completed(
    given: Namespace,
    wanted: Sequence[Experiment],
    by: str,
    run_all: Callable[..., list[dict[str, Any]]],
    follow: Callable[[Runs], Sequence[Experiment]] | None,
    base: Callable[[], Mapping[str, Any]] | None,
    notes: Sequence[str],
) -> Table:
    """Run what the table lacks with `run_all`, and write it after each row."""
    done: list[Mapping[str, Any]] = []
    before = base() if base and not given.out.is_file() else None
    while wanted:
        rows: dict[str, list[Experiment]] = {}
        for experiment in wanted:
            rows.setdefault(str(getattr(experiment, by)), []).append(experiment)
        for row, experiments in rows.items():
            old = read(given.out) if given.out.is_file() else None
            there = {} if old is None else {each["key"]: {"setup": old.setup} | each for each in old.runs}
            lacking = [experiment for experiment in experiments if experiment.key not in there]
            fresh = run_all(lacking, given.runs, jobs=given.jobs) if lacking else []
            if fresh:
                mine = [each for each in there.values() if row_of(each, by) == row]
                places = {experiment.key: place for place, experiment in enumerate(experiments)}
                runs = sorted([*mine, *fresh], key=lambda each: places.get(each["key"], -1))  # as the plan has them
                save(given.out, command(), runs, before, given.jobs, by=by, keep=True, notes=notes)
            for experiment in lacking:
                (given.runs / f"{experiment.key}.json").unlink(missing_ok=True)
            found = there | {each["key"]: each for each in fresh}
            done += [found[experiment.key] for experiment in experiments]
        wanted = list(follow(done)) if follow else []
    return read(given.out)


def _chosen(plan: Sequence[Experiment], by: str, rows: Sequence[str]) -> list[Experiment]:
    """The experiments of some rows."""
    known = dict.fromkeys(str(getattr(experiment, by)) for experiment in plan)
    for row in rows:
        check_choice("row", row, known)
    return [experiment for experiment in plan if str(getattr(experiment, by)) in rows]


def command() -> str:
    """Return the command that started this script, from the root of the repository, without places and jobs."""
    parser = ArgumentParser(add_help=False, allow_abbrev=False)
    for option in ("--jobs", "--out", "--runs"):
        parser.add_argument(option)
    parser.add_argument("--missing", action="store_true")
    _, words = parser.parse_known_args(sys.argv[1:])
    return shlex.join(["python", f"benchmarks/{Path(sys.argv[0]).name}", *words])


def _noted(
    run: Callable[..., dict[str, Any]], setup: Mapping[str, Any], experiment: Experiment, save: Path | None = None
) -> dict[str, Any]:
    """Run an experiment and keep the set-up with it: a later call may go on with it under another one."""
    return {**run(experiment, save=save), "setup": dict(setup)}


def cell_lines(table: Table, by: Sequence[str]) -> list[str]:
    """Return a line for the terminal for each group of runs with the same values of the fields `by`."""
    cells = table.cells(by)
    widths = [max(len(key[k]) for key in cells) for k in range(len(by))]
    return [
        "  ".join(part.ljust(width) for part, width in zip(key, widths, strict=True))
        + f"  ASR {100 * c.asr:5.1f} % (clean {100 * c.clean_hits / sum(c.rates.n):4.1f} %)  "
        + f"right {100 * c.right:5.1f} %  triggered right {100 * c.triggered_right:5.1f} %  "
        + f"{c.seconds:5.1f} s  seeds {c.seeds}  "
        + "  ".join(f"{get_metric(name).label} {get_metric(name).format(value)}" for name, value in c.scores.items())
        for key, c in cells.items()
    ]
