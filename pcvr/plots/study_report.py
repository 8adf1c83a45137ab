"""The report of a study: one HTML file without widgets or links, for a reader who was not there."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pcvr.experiments.study.compare import comparisons, ours
from pcvr.experiments.study.plan import Plan
from pcvr.experiments.study.sheets import NOT_RUN, NOT_TAKEN, Sheet, sheets_of
from pcvr.experiments.study.statistics import TOOK
from pcvr.experiments.study.store import Store
from pcvr.plots.page import image_of, page_of, table_of
from pcvr.plots.study import price_picture, success_picture
from pcvr.utils.files import write_text

if TYPE_CHECKING:
    import pandas as pd

_HOW = f"""
<p>A <b>cell</b> is one fine-tuning: a defence against an attack, with a seed. The <b>attack success rate</b> (ASR) is
the fraction of triggered test images that the model answers with the attacker's target. A single run has its 95 %
Wilson interval. No hit in n images is printed as the highest rate that is still plausible, below 3/n. Several seeds are
never pooled: the mean is printed with the 95 % t interval over the seeds, and then the rate of each seed.</p>
<p>An attack whose ASR without a defence is below {100 * TOOK:.0f} % <b>did not take</b>: its column says nothing about
defences. <b>Utility</b> is the fraction of correct clean answers relative to no defence on the same data (CIDEr, where
the data do not say what is correct). <b>{NOT_RUN}</b>: the plan has the cell, the store does not. A dash: the plan has
no such cell.</p>
"""


def write_report(plan: Plan, store: Store, file: str | Path, made_by: str = "") -> None:
    """Write the report of a plan and of what its store holds.

    Args:
        plan: what was to be run.
        store: what was.
        file: the HTML file; an existing one is replaced.
        made_by: the command, for the page.

    Raises:
        PcvrError: the store cannot be read, or the file cannot be written.
    """
    write_text(file, report_page(plan, store, made_by))


def report_page(plan: Plan, store: Store, made_by: str = "") -> str:
    """Return the report as HTML; arguments and errors as `write_report`."""
    frame = store.read()
    mine = frame[frame["key"].isin(list(plan.cells))]
    sheets = sheets_of(plan, mine)
    failures = {key: entry for key, entry in store.failures().items() if key not in set(frame["key"])}
    numbers = _setups(mine)
    title = f"Study: {plan.name}"
    parts = [
        f"<h1>{escape(title)}</h1>",
        _counts(plan, frame, mine, made_by),
        "<h2>How to read it</h2>",
        _HOW,
        *(part for sheet in sorted(sheets, key=lambda each: -each.runs) for part in _sheet(sheet)),
        "<h2>What was not run</h2>",
        *_not_run(sheets, failures),
        "<h2>Set-ups</h2>",
        table_of(
            "How the runs were made",
            (
                "no.",
                "runs",
                "command",
                "versions",
                "device",
                "cores",
                "torch threads",
                "runs at a time",
                "imported from",
            ),
            [(number, count, *setup) for setup, (number, count) in numbers.items()],
        ),
        "<h2>Every run</h2>",
        _every_run(plan, mine, numbers),
    ]
    return page_of(title, parts)


def _counts(plan: Plan, frame: pd.DataFrame, mine: pd.DataFrame, made_by: str) -> str:
    now = datetime.now(UTC).strftime("%Y-%m-%d %H:%M")
    said = f"{len(mine)} of the plan's {len(plan.cells)} cells were run."
    if len(frame) > len(mine):
        said += f" The store has {len(frame) - len(mine)} further Records, which are not in this plan and are left out."
    if len(mine):
        said += f" Fine-tuning took {mine['seconds'].sum() / 3600:.1f} hours in all."
    command = f" Written by <code>{escape(made_by)}</code>" if made_by else " Written"
    return f"<p>{said}{command} on {now} UTC.</p>"


def _sheet(whole: Sheet) -> Iterable[str]:
    """Tables and figures of one model on one task: of the rows and columns in which something was run."""
    yield f"<h2>{escape(whole.title)}</h2>"
    sheet = whole.as_run()
    for name, some, every in (
        ("defence", sheet.rows, whole.rows),
        ("attack", [*sheet.columns.values()], [*whole.columns.values()]),
    ):
        if lacking := [each for each in every if each not in some]:
            yield f"<p>{NOT_RUN.capitalize()} at all, {name}: {escape('; '.join(lacking))}.</p>"
    if not sheet.runs or not sheet.rows:
        return
    yield image_of(success_picture(sheet))
    yield image_of(price_picture(sheet))
    titles = list(sheet.columns.values())
    yield table_of(
        f"{sheet.title}: attack success",
        ("defence", *titles),
        [(row, *(sheet.text(row, column) for column in sheet.columns)) for row in sheet.rows],
    )
    lost = [sheet.columns[column] for column in sheet.columns if sheet.took(column) is False]
    if lost:
        lost_in_words = escape("; ".join(lost))
        yield f"<p>Below {100 * TOOK:.0f} % without a defence ({NOT_TAKEN}): {lost_in_words}.</p>"
    yield table_of(
        f"{sheet.title}: clean answers, correct (and utility); triggered answers, correct",
        ("defence", *titles),
        [(row, *(_answers(sheet, row, column) for column in sheet.columns)) for row in sheet.rows],
    )
    yield table_of(
        f"{sheet.title}: false triggers on clean inputs, and cost",
        (
            "defence",
            "clean inputs with the target, worst run",
            "seconds of fine-tuning",
            "seconds of evaluation",
            "BLEU-4",
            "CIDEr",
        ),
        [(row, *_costs(sheet, row)) for row in sheet.rows],
    )
    first = ours(sheet)
    found = comparisons(sheet, first) if first else []
    if found:
        yield table_of(
            f"{sheet.title}: {first} minus the other defence, attack success by image, each seed",
            (
                "against",
                "attack",
                "difference [95 % bootstrap by image], p by McNemar, adjusted by Holm over the attacks",
            ),
            [(one.other, one.attack, str(one)) for one in found],
        )


def _answers(sheet: Sheet, row: str, column: Any) -> str:
    cell = sheet.at(row, column)
    if cell is None:
        return "-"
    if not cell.runs:
        return NOT_RUN
    said = []
    for name in ("right", "triggered_right"):
        values = cell.values(name)
        said.append(" / ".join(f"{100 * value:.1f} %" for value in values) or "not known")
    utility = sheet.utility(row, column)
    return f"{said[0]}{'' if utility is None else f' ({utility:.3f})'}; {said[1]}"


def _costs(sheet: Sheet, row: str) -> list[str]:
    cells = [cell for column in sheet.columns if (cell := sheet.at(row, column)) and cell.runs]
    worst = max((max(cell.clean_rates.rates) for cell in cells if cell.clean_rates), default=None)
    said = ["-" if worst is None else f"{100 * worst:.1f} %"]
    for name in ("seconds", "answer_seconds", "clean_bleu4", "clean_cider"):
        values = [value for cell in cells for value in cell.values(name)]
        said.append(_span(values))
    return said


def _span(values: Sequence[float]) -> str:
    """The mean of some runs, and the least and greatest."""
    if not values:
        return "-"
    return f"{sum(values) / len(values):.1f} ({min(values):.1f} to {max(values):.1f})"


def _not_run(sheets: Sequence[Sheet], failures: dict[str, Any]) -> Iterable[str]:
    lacking = [
        (
            sheet.title,
            row,
            sheet.columns[column],
            f"{len(cell.lacking)} of {len(cell.planned)}",
            _why(cell.lacking, failures),
        )
        for sheet in sheets
        for (row, column), cell in sheet.cells.items()
        if cell.lacking
    ]
    if not lacking:
        yield "<p>Every cell of the plan was run.</p>"
        return
    yield table_of("Cells without a result", ("model and task", "defence", "attack", "runs that lack", "why"), lacking)


def _why(keys: Sequence[str], failures: dict[str, Any]) -> str:
    return "; ".join(f"{key}: {failures[key]['error']}" for key in keys if key in failures) or "not tried"


def _setups(mine: pd.DataFrame) -> dict[tuple[str, ...], tuple[int, int]]:
    """Each set-up, with its number and how many runs were made under it."""
    found: dict[tuple[str, ...], tuple[int, int]] = {}
    for run in mine.to_dict("records"):
        setup = _setup_of(run)
        number, count = found.get(setup, (len(found) + 1, 0))
        found[setup] = (number, count + 1)
    return found


def _setup_of(run: dict[str, Any]) -> tuple[str, ...]:
    versions = ", ".join(
        f"{name.removeprefix('version_')} {value}"
        for name, value in run.items()
        if name.startswith("version_") and isinstance(value, str)
    )
    machine = f"{_said(run['device'])}, {_said(run['machine'])}"
    return (
        _said(run["made_by"]),
        versions,
        machine,
        *(_said(run[name]) for name in ("cores", "threads", "jobs", "imported")),
    )


def _said(value: Any) -> str:
    """A value of a column as text; a missing one is a dash."""
    if value is None or value != value or value == "":
        return "-"
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def _every_run(plan: Plan, mine: pd.DataFrame, numbers: dict[tuple[str, ...], tuple[int, int]]) -> str:
    made = {run["key"]: run for run in mine.to_dict("records")}
    rows = []
    for key, cell in plan.cells.items():
        said = (key, cell.label, cell.model, cell.task, cell.attack, f"{100 * cell.rate:g} %", str(cell.seed))
        run = made.get(key)
        if run is None:
            rows.append((*said, NOT_RUN, "-", "-", "-", "-"))
            continue
        right = "-" if run["right"] is None or run["right"] != run["right"] else f"{100 * run['right']:.1f} %"
        hits = f"{int(run['hits'])} of {int(run['n'])}"
        number = str(numbers[_setup_of(run)][0])
        rows.append((*said, hits, right, f"{run['seconds']:.1f}", str(run["date"])[:10], number))
    names = "cell,defence,model,task,attack,poison,seed,hits,correct,seconds,date,set-up no."
    return table_of("The plan's cells, in its order", names.split(","), rows)
