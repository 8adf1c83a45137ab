"""Shipped result tables: read here, made by the scripts in ``benchmarks/``."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from statistics import mean
from typing import Any

from pcvr.errors import unknown_name

FOLDER = Path(__file__).parent


@dataclass(frozen=True)
class Cell:
    """One row of a summary: a label's figures over its seeds.

    Attributes:
        label: what was run.
        seeds: how many runs.
        hits: triggered inputs that gave the target, all seeds together.
        n: triggered inputs, all seeds together.
        clean_hits: clean inputs that gave the target, all seeds together.
        cider: mean CIDEr on clean inputs.
        bleu4: mean BLEU-4 on clean inputs.
        attributes: mean share of captions with every attribute right, clean inputs.
        triggered_attributes: the same on triggered inputs.
        seconds: mean wall time of the fine-tuning.
    """

    label: str
    seeds: int
    hits: int
    n: int
    clean_hits: int
    cider: float
    bleu4: float
    attributes: float
    triggered_attributes: float
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
        machine: cores and threads.
        base: the record of the model before any fine-tuning.
        runs: what `pcvr.study.run_experiment` returned for each run.
    """

    made_by: str
    date: str
    versions: dict[str, str]
    machine: str
    base: dict[str, Any]
    runs: list[dict[str, Any]]

    def cells(self) -> list[Cell]:
        """The runs grouped by label, in the order in which labels first come."""
        groups: dict[str, list[dict[str, Any]]] = {}
        for run in self.runs:
            groups.setdefault(run["experiment"]["label"], []).append(run)
        return [_cell(label, group) for label, group in groups.items()]


def _cell(label: str, runs: list[dict[str, Any]]) -> Cell:
    records = [r["record"] for r in runs]
    return Cell(
        label=label,
        seeds=len(runs),
        hits=sum(r["hits"] for r in records),
        n=sum(r["n"] for r in records),
        clean_hits=sum(r["clean_hits"] for r in records),
        cider=mean(r["clean"]["cider"] for r in records),
        bleu4=mean(r["clean"]["bleu4"] for r in records),
        attributes=mean(r["clean"]["attributes"] for r in records),
        triggered_attributes=mean(r["triggered"]["attributes"] for r in records),
        seconds=mean(r["seconds"] for r in runs),
    )


def load(name: str) -> Table:
    """The shipped table `name` (``"spine"``: BadNets on scene captions, three seeds, the defences side by side).

    Raises:
        PcvrError: there is no such table.
    """
    tables = {path.stem: path for path in FOLDER.glob("*.json")}
    if name not in tables:
        raise unknown_name("results table", name, tables)
    return Table(**json.loads(tables[name].read_text(encoding="utf-8")))
