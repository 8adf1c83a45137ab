"""The tables of defences in ``docs/defences.md``: every row of the study, run or not."""

from __future__ import annotations

from collections.abc import Iterator

from pcvr.experiments import Experiment
from pcvr.experiments.standings import Standing, main_sheet, progress, standings
from pcvr.experiments.study import Store, table_of
from pcvr.experiments.study.sheets import NOT_RUN, Sheet
from pcvr.experiments.whole_study import main_table, shipped
from pcvr.tasks import TASKS


def standings_table(store: Store | None = None) -> list[str]:
    """Return a row for each defence: its worst attack on each task, the correct answers that it costs, and its time.

    Args:
        store: by default the shipped one.
    """
    store = store or shipped()
    found = {task: {each.row: each for each in standings(main_sheet(task, store))} for task in TASKS}
    heads = [head for task in TASKS for head in (f"{task}: worst attack success", "correct, minus none")]
    lines = [f"| defence | settings | {' | '.join(heads)} | time |", "|---|---|" + "---|" * (len(heads) + 1)]
    for row, first in next(iter(found.values())).items():
        mine = [found[task][row] for task in TASKS]
        if all(each.worst is None for each in mine):
            continue
        times = [each.time for each in mine if each.time is not None]
        figures = [figure for each in mine for figure in _worst(each)]
        time = f"{sum(times) / len(times):.2f} x" if times else "-"
        lines.append(f"| {row} | {first.origin} | {' | '.join(figures)} | {time} |")
    lacking = [row for row in found["caption"] if all(found[task][row].worst is None for task in TASKS)]
    said = f" Not run yet: {', '.join(lacking)}." if lacking else ""
    return [*lines, "", f"*{_how(store)}{said}*"]


def attack_tables(store: Store | None = None) -> list[str]:
    """Return a table for each task: each defence under each attack, and the correct answers on clean data.

    Args:
        store: by default the shipped one.
    """
    store = store or shipped()
    return [line for task in TASKS for line in (*_attacks(main_sheet(task, store)), "")] + [f"*{_how(store)}*"]


def _worst(each: Standing) -> tuple[str, str]:
    """The worst attack and the greatest loss of a row; a row that was not run against all attacks says so."""
    worst, dearest = each.worst, each.dearest
    if worst is None:
        return NOT_RUN, "-"
    run, took = len(each.counted), sum(1 for outcome in each.outcomes if outcome.took is not False)
    few = "" if each.whole else f" ({run} of {took} attacks run)"
    lost = "-" if dearest is None or dearest.loss is None else f"{-100 * dearest.loss:+.1f} points"
    return f"{worst.rates}, {worst.attack}{few}", lost


def _attacks(sheet: Sheet) -> Iterator[str]:
    columns = [column for column in sheet.columns if sheet.attacked(column)]
    (clean,) = (column for column in sheet.columns if not sheet.attacked(column))
    yield f"| {sheet.title}: attack success | {' | '.join(sheet.columns[c] for c in columns)} | clean data: correct |"
    yield "|---|" + "---|" * (len(columns) + 1)
    ran = sheet.as_run().rows
    for row in ran:
        cell = sheet.at(row, clean)
        right = cell.mean("right") if cell else None
        kept = NOT_RUN if right is None else f"{100 * right:.1f} %"
        yield f"| {row} | {' | '.join(sheet.text(row, c) for c in columns)} | {kept} |"
    lacking = [row for row in sheet.rows if row not in ran]
    yield ""
    yield progress(sheet) + (f" No run yet of {', '.join(lacking)}." if lacking else "")


def _how(store: Store) -> str:
    planned = {cell.key for cell in main_table()}
    records = [record for record in store.records() if record["key"] in planned]
    how = f", {table_of(records).caption()}" if records else ""
    usual = Experiment("")
    return (
        f"{usual.model}, {100 * usual.rate:g} % poison, {usual.max_steps} steps of {usual.batch_size} over "
        f"{usual.samples} training scenes, {usual.tests} test scenes{how}."
    )
