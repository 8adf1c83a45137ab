"""Result tables: the shipped ones are read here; the scripts in ``benchmarks/`` write them, one run a line."""

from __future__ import annotations

import json
import os
import platform
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, dataclass, fields
from datetime import UTC, datetime
from pathlib import Path
from statistics import mean
from typing import Any

from pcvr.errors import PcvrError, shown
from pcvr.evaluation.seeds import SeedRates
from pcvr.experiments.stored import stored_experiment
from pcvr.tasks import get_task
from pcvr.utils.checks import check_choice
from pcvr.utils.files import read_json, write_text
from pcvr.utils.places import check_place, rescued
from pcvr.utils.versions import versions

FOLDER = Path(__file__).parent


@dataclass(frozen=True)
class Cell:
    """One row of a summary: the figures of one thing over its seeds.

    Attributes:
        label: what was run.
        seeds: how many runs.
        rates: attack success by seed.
        clean_hits: clean inputs that gave the target, all seeds together.
        scores: mean of each metric on clean inputs.
        right: mean share of right answers on clean inputs, 0 to 1.
        triggered_right: the same on triggered inputs.
        seconds: mean wall time of the fine-tuning.
    """

    label: str
    seeds: int
    rates: SeedRates
    clean_hits: int
    scores: dict[str, float]
    right: float
    triggered_right: float
    seconds: float

    @property
    def asr(self) -> float:
        """Mean attack success rate over the seeds, 0 to 1."""
        return self.rates.mean


@dataclass(frozen=True)
class Table:
    """The results of single runs, and how they were made.

    Attributes:
        made_by: the command.
        date: ISO date on which the table was finished.
        versions: of Python and the packages that matter.
        machine: cores, threads of a run, and how many runs at a time.
        base: the record of the model before any fine-tuning; empty where it is not asked for.
        runs: what `pcvr.experiments.run_experiment` returned for each run. A run that was made under another set-up
            than the four fields above say has its own under ``setup``.
        by: the field of a run's experiment that names its row.
        rows: names of the rows, in the order in which they first come; always taken from `runs`.
        notes: what a reader has to know of how the table came about, one sentence each.
    """

    made_by: str
    date: str
    versions: dict[str, str]
    machine: str
    base: dict[str, Any]
    runs: list[dict[str, Any]]
    by: str = "label"
    rows: Sequence[str] = ()
    notes: Sequence[str] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "runs", [_current(run) for run in self.runs])
        object.__setattr__(self, "rows", list(dict.fromkeys(row_of(run, self.by) for run in self.runs)))

    @property
    def setup(self) -> dict[str, Any]:
        """How those runs were made that have no set-up of their own."""
        return {name: getattr(self, name) for name in _SETUP}

    def caption(self) -> str:
        """Say which command made the runs, when and under what; rows of another set-up are named with their own."""
        groups: dict[str, tuple[Mapping[str, Any], list[dict[str, Any]]]] = {}
        for run in self.runs:
            setup = run.get("setup", self.setup)
            groups.setdefault(_in_words(setup), (setup, []))[1].append(run)
        usual = _in_words(self.setup)
        total = Counter(row_of(run, self.by) for run in self.runs)
        said = [_in_words(*groups.get(usual, (self.setup, ())))] if usual in groups or self.base or not groups else []
        for words, (setup, runs) in groups.items():
            if words != usual:
                rows = Counter(row_of(run, self.by) for run in runs)
                names = [row if n == total[row] else f"{row} ({n} of {total[row]} runs)" for row, n in rows.items()]
                said.append(f"{', '.join(names)}: {_in_words(setup, runs)}")
        return "; ".join(said)

    def cells(self, by: Sequence[str] = ("label",)) -> dict[tuple[str, ...], Cell]:
        """Group the runs by some fields of their experiments, in the order in which the groups first come.

        Args:
            by: names of fields of `pcvr.experiments.Experiment`, such as ``("model", "task", "label")``.
        """
        groups: dict[tuple[str, ...], list[dict[str, Any]]] = {}
        for run in self.runs:
            groups.setdefault(tuple(str(run["experiment"][field]) for field in by), []).append(run)
        return {key: _cell(key[-1], group) for key, group in groups.items()}


def _current(run: dict[str, Any]) -> dict[str, Any]:
    """A run whose experiment has the present names of its fields, and all options that it had."""
    return run | {"experiment": stored_experiment(run["experiment"])} if "experiment" in run else run


_SETUP = ("made_by", "date", "versions", "machine")


def _in_words(setup: Mapping[str, Any], runs: Sequence[Mapping[str, Any]] = ()) -> str:
    """A set-up in words; with the runs that were made under it, from their first day to their last."""
    days = sorted({setup["date"], *(run["record"]["date"] for run in runs if "date" in run.get("record", {}))})
    packages = [f"{name} {setup['versions'][name]}" for name in ("torch", "transformers") if name in setup["versions"]]
    date = days[0] if len(days) == 1 else f"{days[0]} to {days[-1]}"
    return ", ".join([f"`{setup['made_by']}`", date, *packages, setup["machine"]])


def row_of(run: Mapping[str, Any], by: str) -> str:
    """Return the row that a run belongs to: a field of its experiment, or of itself where it has none."""
    said = run.get("experiment", run)
    return str(said.get(by, said.get("defense")))


def _cell(label: str, runs: list[dict[str, Any]]) -> Cell:
    records = [r["record"] for r in runs]
    right = get_task(records[0].get("task", "caption")).right
    return Cell(
        label=label,
        seeds=len(runs),
        rates=SeedRates(
            tuple(r["hits"] for r in records),
            tuple(r.get("aimed") or r["n"] for r in records),
            tuple(run["experiment"].get("seed", number) for number, run in enumerate(runs)),
        ),
        clean_hits=sum(r["clean_hits"] for r in records),
        scores={name: mean(r["clean"][name] for r in records) for name in records[0]["clean"]},
        right=mean(r["clean"][right] for r in records),
        triggered_right=mean(r["triggered"][right] for r in records),
        seconds=mean(r["seconds"] for r in runs),
    )


def ready(file: Path) -> None:
    """Raise before the runs unless their table can be written to `file`, over an older table where there is one.

    Raises:
        PcvrError: another file is there, or it cannot be written.
    """
    check_place(file, "file", _is_table)


def _is_table(file: Path) -> bool:
    try:
        read(file)
    except PcvrError:
        return False
    return True


def setup_here(made_by: str, jobs: int = 1) -> dict[str, Any]:
    """Return the set-up of runs made now: the first four fields of a `Table`.

    Args:
        made_by: the command.
        jobs: how many runs are made at a time; they share the cores.
    """
    import torch

    cores = os.cpu_count() or 1
    threads = torch.get_num_threads() if jobs == 1 else max(1, cores // jobs)
    gpu = f"{torch.cuda.get_device_name()}, " if torch.cuda.is_available() else ""
    return {
        "made_by": made_by,
        "date": datetime.now(UTC).date().isoformat(),
        "versions": versions(),
        "machine": f"{gpu}{cores} x {platform.machine()}, torch threads {threads}, runs at a time {jobs}",
    }


def save(
    file: Path,
    made_by: str,
    runs: Sequence[Mapping[str, Any]],
    base: Mapping[str, Any] | None = None,
    jobs: int = 1,
    *,
    by: str = "label",
    keep: bool = False,
    notes: Sequence[str] = (),
) -> Table:
    """Write a table, whole or not at all; where that fails, in another place that the error names.

    Args:
        file: the JSON file; see `ready`.
        made_by: the command.
        runs: what `pcvr.experiments.run_experiment` returned for each run.
        base: the record of the model before any fine-tuning.
        jobs: how many runs were made at a time; they share the cores.
        by: the field of an experiment that names its row.
        keep: whether a table that is there keeps its head and the rows that `runs` do not have.
        notes: what a reader has to know of how the table came about.
    """
    here = setup_here(made_by, jobs)
    old = read(file) if keep and file.is_file() else None
    setup = here if old is None else old.setup
    fresh = [_under(setup, run, run.get("setup", here)) for run in runs]
    table = Table(
        **setup,
        base=dict(base or {}) if old is None else old.base,
        runs=fresh if old is None else _merged(old.runs, fresh, by),
        by=by,
        notes=list(notes),
    )
    rescued(file, lambda place: write_text(place, _as_text(table)))
    return table


def _under(head: Mapping[str, Any], run: Mapping[str, Any], setup: Mapping[str, Any]) -> dict[str, Any]:
    """The run, with its own set-up where the table's head says another; a date alone makes no other."""
    same = all(head[name] == setup[name] for name in _SETUP if name != "date")
    plain = {name: value for name, value in run.items() if name != "setup"}
    return plain if same else plain | {"setup": dict(setup)}


def _merged(old: Sequence[dict[str, Any]], fresh: Sequence[dict[str, Any]], by: str) -> list[dict[str, Any]]:
    """The old runs with those of the rows in `fresh` replaced, each in its place; new rows come at the end."""
    rows: dict[str, list[dict[str, Any]]] = {}
    for run in fresh:
        rows.setdefault(row_of(run, by), []).append(run)
    last = {row_of(run, by): place for place, run in enumerate(old)}
    merged = []
    for place, run in enumerate(old):
        row = row_of(run, by)
        if row in rows:
            count = len(rows[row]) if place == last[row] else 1  # a row may have got longer or shorter
            merged += rows[row][:count]
            del rows[row][:count]
        else:
            merged.append(run)
    return merged + [run for runs in rows.values() for run in runs]


def _as_text(table: Table) -> str:
    """JSON: the head as one line, then one run a line."""
    head = {field.name: getattr(table, field.name) for field in fields(table) if field.name != "runs"}
    first, *lines = (json.dumps(part, ensure_ascii=False, separators=(",", ":")) for part in (head, *table.runs))
    return f'{first[:-1]},"runs":[\n' + ",\n".join(lines) + "\n]}\n"


def read(file: str | Path) -> Table:
    """Read a table that a script in ``benchmarks/`` wrote, be it indented as older ones are.

    Raises:
        PcvrError: no such file, or it is not a table.
    """
    said = read_json(file, "the table")
    known = {field.name for field in fields(Table)}
    needed = {field.name for field in fields(Table) if field.default is MISSING}
    if not needed <= set(said) <= known:
        raise PcvrError(f"{shown(str(file))} is not a results table: give a file that a script in benchmarks/ wrote.")
    return Table(**said)


def load(name: str) -> Table:
    """Read the shipped table `name`.

    ``"spine"``: BadNets on scene captions, three seeds, the defences side by side. ``"families"``: three models, two
    tasks; clean, poisoned, and poisoned with PCVR. ``"attacks"``: all attacks, several poison rates. ``"defenses"``:
    PCVR and its rivals against the headline attacks. ``"cost"``: what each of them costs; its runs are rows of
    `benchmarks/cost.py`. ``"premise"``, ``"distributions"``, ``"grid"``: behind notebooks 04, 06 and 07.

    Raises:
        PcvrError: there is no such table.
    """
    tables = {path.stem: path for path in FOLDER.glob("*.json")}
    check_choice("results table", name, tables)
    return read(tables[name])
