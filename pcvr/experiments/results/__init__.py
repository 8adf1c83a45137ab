"""Shipped result tables: read here, made by the scripts in ``benchmarks/``."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from statistics import mean
from typing import Any

from pcvr.errors import PcvrError
from pcvr.tasks import get_task
from pcvr.utils.checks import check_choice
from pcvr.utils.files import read_json, write_json
from pcvr.utils.places import check_place, rescued
from pcvr.utils.versions import versions

FOLDER = Path(__file__).parent


@dataclass(frozen=True)
class Cell:
    """One row of a summary: the figures of one thing over its seeds.

    Attributes:
        label: what was run.
        seeds: how many runs.
        hits: triggered inputs that gave the target, all seeds together.
        n: triggered inputs, all seeds together.
        clean_hits: clean inputs that gave the target, all seeds together.
        scores: mean of each metric on clean inputs.
        right: mean share of right answers on clean inputs, 0 to 1.
        triggered_right: the same on triggered inputs.
        seconds: mean wall time of the fine-tuning.
    """

    label: str
    seeds: int
    hits: int
    n: int
    clean_hits: int
    scores: dict[str, float]
    right: float
    triggered_right: float
    seconds: float

    @property
    def asr(self) -> float:
        """Attack success rate over all seeds, 0 to 1."""
        return self.hits / self.n


@dataclass(frozen=True)
class Table:
    """A shipped table: the results of single runs and how they were made.

    Attributes:
        made_by: the command.
        date: ISO date.
        versions: of Python and the packages that matter.
        machine: cores, threads of a run, and how many runs at a time.
        base: the record of the model before any fine-tuning.
        runs: what `pcvr.experiments.run_experiment` returned for each run.
    """

    made_by: str
    date: str
    versions: dict[str, str]
    machine: str
    base: dict[str, Any]
    runs: list[dict[str, Any]]

    def cells(self, by: Sequence[str] = ("label",)) -> dict[tuple[str, ...], Cell]:
        """The runs grouped by some fields of their experiments, in the order in which the groups first come.

        Args:
            by: names of fields of `pcvr.experiments.Experiment`, such as ``("model", "task", "label")``.
        """
        groups: dict[tuple[str, ...], list[dict[str, Any]]] = {}
        for run in self.runs:
            groups.setdefault(tuple(str(run["experiment"][field]) for field in by), []).append(run)
        return {key: _cell(key[-1], group) for key, group in groups.items()}


def _cell(label: str, runs: list[dict[str, Any]]) -> Cell:
    records = [r["record"] for r in runs]
    right = get_task(records[0].get("task", "caption")).right
    return Cell(
        label=label,
        seeds=len(runs),
        hits=sum(r["hits"] for r in records),
        n=sum(r.get("aimed") or r["n"] for r in records),
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
        return "made_by" in read_json(file)
    except PcvrError:
        return False


def save(
    file: Path, made_by: str, runs: Sequence[Mapping[str, Any]], base: Mapping[str, Any] | None = None, jobs: int = 1
) -> None:
    """Write a table, whole or not at all; where that fails, in another place that the error names.

    Args:
        file: the JSON file; see `ready`.
        made_by: the command.
        runs: what `pcvr.experiments.run_experiment` returned for each run.
        base: the record of the model before any fine-tuning.
        jobs: how many runs were made at a time; they share the cores.
    """
    import torch

    cores = os.cpu_count() or 1
    threads = torch.get_num_threads() if jobs == 1 else max(1, cores // jobs)
    gpu = f"{torch.cuda.get_device_name()}, " if torch.cuda.is_available() else ""
    table = Table(
        made_by=made_by,
        date=datetime.now(UTC).date().isoformat(),
        versions=versions(),
        machine=f"{gpu}{cores} x {platform.machine()}, torch threads {threads}, runs at a time {jobs}",
        base=dict(base or {}),
        runs=[dict(run) for run in runs],
    )
    rescued(file, lambda place: write_json(place, asdict(table)))


def load(name: str) -> Table:
    """The shipped table `name`.

    ``"spine"``: BadNets on scene captions, three seeds, the defences side by side. ``"families"``: three models, two
    tasks; clean, poisoned, and poisoned with PCVR. ``"attacks"``: all attacks, several poison rates. ``"defenses"``:
    PCVR and its rivals against the headline attacks. ``"cost"``: what each of them costs; its runs are rows of
    `benchmarks/cost.py`. ``"premise"``, ``"distributions"``, ``"grid"``: behind notebooks 04, 06 and 07.

    Raises:
        PcvrError: there is no such table.
    """
    tables = {path.stem: path for path in FOLDER.glob("*.json")}
    check_choice("results table", name, tables)
    return Table(**json.loads(tables[name].read_text(encoding="utf-8")))
