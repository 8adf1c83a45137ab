"""Runs of the tables of ``benchmarks/`` into a store, so that none is trained twice; and Records as such a table."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pcvr.errors import PcvrError, first_line, shown
from pcvr.experiments.experiment import Experiment
from pcvr.experiments.results import Table, load, read
from pcvr.experiments.stored import stored_experiment
from pcvr.experiments.study.store import Store

_MACHINE = re.compile(
    r"(?:(?P<device>.+), )?(?P<cores>\d+) x (?P<machine>\S+), torch threads (?P<threads>\d+), "
    r"runs at a time (?P<jobs>\d+)"
)


@dataclass
class Imported:
    """What became of the runs of a table.

    Attributes:
        taken: how many are new in the store.
        there: how many the store had already.
        left_out: why a run was left out, with how many there are.
    """

    taken: int = 0
    there: int = 0
    left_out: dict[str, int] = field(default_factory=dict)


def experiment_of(record: Mapping[str, Any]) -> Experiment:
    """Return the experiment of a Record, of any age.

    Raises:
        PcvrError: its fields are not those of an `Experiment`.
    """
    try:
        return Experiment(**stored_experiment(record["experiment"]))
    except TypeError as problem:
        raise PcvrError(
            f"the cell {record.get('key')} is no Experiment ({first_line(problem)}): leave it out."
        ) from None


def import_table(store: Store, table: str | Path) -> Imported:
    """Take the runs of a table into a store; each keeps the set-up under which it was made.

    A run is left out if it is no Experiment's, or if its configuration is another one today than its key says.

    Args:
        store: where they go.
        table: a file that a script in ``benchmarks/`` wrote, or the name of a shipped table.

    Raises:
        PcvrError: no such table, or a store that cannot be written.
    """
    path = Path(table)
    found = read(path) if path.suffix or path.is_file() else load(str(table))
    name = path.name if path.suffix else f"{table}.json"
    count = Imported()
    with store.writing() as writer:
        for run in found.runs:
            why, key = _unfit(run)
            if why:
                count.left_out[why] = count.left_out.get(why, 0) + 1
            elif key in writer.keys:
                count.there += 1
            else:
                setup = setup_of(run.get("setup", found.setup)) | {"imported": name}
                cell = experiment_of(run).to_dict()
                writer.add({**run, "key": key, "experiment": cell, "setup": setup})
                count.taken += 1
    return count


def _unfit(run: Mapping[str, Any]) -> tuple[str, str]:
    """Why a run cannot be taken, or an empty text; and its key."""
    if not run.keys() >= {"experiment", "key", "record", "seconds"}:
        return "not the run of an Experiment", ""
    try:
        key = experiment_of(run).key
    except PcvrError as problem:
        return first_line(problem), ""
    return ("", key) if key == run["key"] else ("its configuration has another key today", key)


def setup_of(said: Mapping[str, Any]) -> dict[str, Any]:
    """Return the set-up of a table's run as a store's Records have it.

    Args:
        said: ``made_by``, ``date``, ``versions``, and ``machine`` in words.
    """
    parts = _MACHINE.fullmatch(said["machine"])
    found = {name: said[name] for name in ("made_by", "date", "versions", "machine")}
    if parts is None:  # a text of another form is kept as it is
        return found
    numbers = {name: int(parts[name]) for name in ("cores", "threads", "jobs")}
    return found | numbers | {"device": parts["device"] or "cpu", "machine": parts["machine"]}


def machine_of(setup: Mapping[str, Any]) -> str:
    """Return a Record's machine in words, as the tables have it."""
    if "cores" not in setup:
        return str(setup.get("machine", ""))
    gpu = "" if setup["device"] == "cpu" else f"{setup['device']}, "
    return (
        f"{gpu}{setup['cores']} x {setup['machine']}, torch threads {setup['threads']}, runs at a time {setup['jobs']}"
    )


def table_of(records: Iterable[Mapping[str, Any]], by: str = "label") -> Table:
    """Return Records as a table, for the figures of `pcvr.plots` and for `pcvr.experiments.results`.

    The set-up of the first Record is the table's; Records of another one keep theirs.

    Args:
        records: of a store, at least one, in the order of the rows.
        by: the field of an experiment that names its row.

    Raises:
        PcvrError: there is no Record.
    """
    runs: list[dict[str, Any]] = []
    head: dict[str, Any] = {}
    for record in records:
        said = record["setup"]
        setup = {"made_by": said["made_by"], "date": str(said["date"])[:10], "versions": said["versions"]}
        setup["machine"] = machine_of(said)
        head = head or setup
        run = {name: value for name, value in record.items() if name != "setup"}
        same = all(setup[name] == head[name] for name in setup if name != "date")
        runs.append(run if same else run | {"setup": setup})
    if not runs:
        raise PcvrError(f"records is {shown(runs)}: a table needs at least one run.")
    return Table(**head, base={}, runs=runs, by=by)
