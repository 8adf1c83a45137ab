"""The cells of a study as a reader asks for them: defences down, attacks across, one sheet for each model and task."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from statistics import mean
from typing import TYPE_CHECKING, Any

from pcvr.evaluation.seeds import SeedRates
from pcvr.experiments.experiment import Experiment
from pcvr.experiments.study.plan import Plan
from pcvr.experiments.study.statistics import took

if TYPE_CHECKING:
    import pandas as pd

_SHEET = ("model", "data", "task", "split")
_ATTACK = ("attack", "attack_options", "preset", "rate", "without", "novelty", "poison_from", "near", "second")
_BUDGET = ("samples", "tests", "max_steps", "num_train_epochs", "batch_size", "learning_rate")
_ROW = ("defense", "options", "clean", "watch")
NOT_RUN, NOT_TAKEN, NOT_KNOWN = "not run", "attack did not take", "not known whether it took"
Name = tuple[Any, ...]


@dataclass(frozen=True)
class CellOfRuns:
    """What one defence did against one attack: its runs, a seed each.

    Attributes:
        planned: the experiments, by key.
        runs: rows of `Store.read` of those that were made, as mappings.
    """

    planned: Mapping[str, Experiment]
    runs: Sequence[Mapping[str, Any]]

    @property
    def lacking(self) -> list[str]:
        """Keys of the runs that were not made."""
        there = {run["key"] for run in self.runs}
        return [key for key in self.planned if key not in there]

    @cached_property
    def rates(self) -> SeedRates | None:
        """Attack success by seed; None if nothing was run."""
        return self._rates("hits")

    @cached_property
    def clean_rates(self) -> SeedRates | None:
        """How often clean inputs give the target, by seed."""
        return self._rates("clean_hits")

    def _rates(self, name: str) -> SeedRates | None:
        if not self.runs:
            return None
        hits, n, seeds = (tuple(int(run[column]) for run in self.runs) for column in (name, "n", "seed"))
        return SeedRates(hits, n, seeds)

    def values(self, column: str) -> list[float]:
        """Return a column of the runs, without those that lack it."""
        found = [run.get(column) for run in self.runs]
        return [float(value) for value in found if value is not None and value == value]

    def mean(self, column: str) -> float | None:
        """Return the mean of a column over the seeds that have it."""
        found = self.values(column)
        return mean(found) if found else None


@dataclass
class Sheet:
    """The cells of one model on one task.

    Attributes:
        title: model and task.
        rows: labels of the defences.
        columns: what was attacked, by what tells it apart.
        cells: by row and column.
    """

    title: str
    rows: list[str] = field(default_factory=list)
    columns: dict[Name, str] = field(default_factory=dict)
    cells: dict[tuple[str, Name], CellOfRuns] = field(default_factory=dict)

    def at(self, row: str, column: Name) -> CellOfRuns | None:
        """Return a cell of the plan, or None where the plan has none."""
        return self.cells.get((row, column))

    @property
    def runs(self) -> int:
        """Number of runs in all cells."""
        return sum(len(cell.runs) for cell in self.cells.values())

    def as_run(self) -> Sheet:
        """Return the sheet with the rows and columns only in which something was run."""
        ran = [place for place, cell in self.cells.items() if cell.runs]
        rows, columns = {row for row, _ in ran}, {column for _, column in ran}
        return replace(
            self,
            rows=[row for row in self.rows if row in rows],
            columns={column: title for column, title in self.columns.items() if column in columns},
        )

    def undefended(self, column: Name) -> CellOfRuns | None:
        """Return the cell without a defence of a column."""
        for row in self.rows:
            cell = self.at(row, column)
            if cell and all(each.defense == "none" for each in cell.planned.values()):
                return cell
        return None

    def attacked(self, column: Name) -> bool:
        """Return whether the training data of a column are poisoned."""
        return float(column[_ATTACK.index("rate")]) > 0

    def took(self, column: Name) -> bool | None:
        """Return whether a column's attack took without a defence; None if that was not run, or nothing is poisoned."""
        cell = self.undefended(column)
        return took(cell.rates) if cell and self.attacked(column) else None

    def text(self, row: str, column: Name) -> str:
        """Return attack success as a table prints it, with what keeps it from being read as a result."""
        cell = self.at(row, column)
        if cell is None:
            return "-"
        if cell.rates is None:
            return NOT_RUN
        said = str(cell.rates)
        if cell.lacking:
            said += f" ({len(cell.runs)} of {len(cell.planned)} runs)"
        if not self.attacked(column):
            return said
        return said + {True: "", False: f"; {NOT_TAKEN}", None: f"; {NOT_KNOWN}"}[self.took(column)]

    def utility(self, row: str, column: Name) -> float | None:
        """Return how good clean answers are, relative to no defence on the same data: 1 is no loss.

        Answers are compared by the fraction of right ones, or by CIDEr where the data do not say what is right.
        """
        cell, plain = self.at(row, column), self.undefended(column)
        for name in ("right", "clean_cider"):
            ours, theirs = (part.mean(name) if part else None for part in (cell, plain))
            if ours is not None and theirs:
                return ours / theirs
        return None


def sheets_of(plan: Plan, frame: pd.DataFrame) -> list[Sheet]:
    """Return a sheet for each model, data set and task of a plan.

    Args:
        plan: what was to be run; cells that were not are in the sheets too.
        frame: from `Store.read`; Records that are not in the plan are left out.

    Returns:
        Sheets in which a cell has a seed once: where the runs of a label have other options, or another number of
        trusted samples, the label names what differs.
    """
    made = {run["key"]: run for run in frame.to_dict("records")}
    groups: dict[Name, dict[tuple[str, Name], dict[str, Experiment]]] = {}
    for key, cell in plan.cells.items():
        said = asdict(cell)
        sheet, column = (tuple(_plain(said[name]) for name in names) for names in (_SHEET, (*_ATTACK, *_BUDGET)))
        groups.setdefault(sheet, {}).setdefault((cell.label, column), {})[key] = cell
    found = []
    for (model, data, task, split), joined in groups.items():
        cells = _apart(joined)
        more = [part for part, usual in ((data, "scenes"), (split, "test")) if part != usual]
        shown = Sheet(", ".join([model, task, *more]))
        shown.rows = list(dict.fromkeys(row for row, _ in cells))
        shown.columns = _titles(list(dict.fromkeys(column for _, column in cells)))
        for place, planned in cells.items():
            shown.cells[place] = CellOfRuns(planned, [made[key] for key in planned if key in made])
        found.append(shown)
    return found


def _apart(cells: Mapping[tuple[str, Name], dict[str, Experiment]]) -> dict[tuple[str, Name], dict[str, Experiment]]:
    """The cells with a row of its own for each defence whose label has a seed twice in a cell: they are no seeds."""
    twice = {label for (label, _), planned in cells.items() if len({c.seed for c in planned.values()}) < len(planned)}
    of_label: dict[str, list[dict[str, Any]]] = {}
    for (label, _), planned in cells.items():
        if label in twice:
            of_label.setdefault(label, []).extend(asdict(cell) for cell in planned.values())
    differing = {
        label: [name for name in _ROW if len({_plain(each[name]) for each in said}) > 1]
        for label, said in of_label.items()
    }
    found: dict[tuple[str, Name], dict[str, Experiment]] = {}
    for (label, column), planned in cells.items():
        for key, cell in planned.items():
            more = [f"{name} {_plain(getattr(cell, name))}" for name in differing.get(label, ())]
            found.setdefault((", ".join([label, *more]), column), {})[key] = cell
    return found


def _plain(value: Any) -> Any:
    """A value that can be a key."""
    return json.dumps(value, sort_keys=True, default=str) if isinstance(value, dict) else value


def _titles(columns: Sequence[Name]) -> dict[Name, str]:
    """A short title for each column: what is not the same in most columns is named."""
    names = (*_ATTACK, *_BUDGET)
    usual = {}
    for place, name in enumerate(names):
        values = [column[place] for column in columns]
        usual[name] = max(dict.fromkeys(values), key=values.count)
    found = {}
    for column in columns:
        said = dict(zip(names, column, strict=True))
        title = [str(said["attack"])]
        if said["attack_options"] != "{}":
            title += [f"{name} {value}" for name, value in json.loads(said["attack_options"]).items()]
        if not said["rate"]:
            title.append("clean data")
        elif said["rate"] != usual["rate"]:
            title.append(f"{100 * said['rate']:g} %")
        title += [f"without {said['without']}"] if said["without"] else []
        title += [f"new: {said['novelty']}"] if said["novelty"] else []
        title += [f"poison from {said['poison_from']:g} of a pass"] if said["poison_from"] else []
        title += [f"and near triggers on {said['near']}"] if said["near"] else []
        title += [f"and {said['second']} of a second attacker"] if said["second"] else []
        for name in ("preset", *_BUDGET):
            if said[name] != usual[name]:
                title.append(f"{name} {said[name]}")
        found[column] = ", ".join(title)
    return found
