"""Show a study: attack success of each defence under each attack, and what each costs in answers and seconds."""

from __future__ import annotations

from statistics import mean
from typing import TYPE_CHECKING

import numpy as np

from pcvr.plots.describe import described
from pcvr.plots.seeds import percent
from pcvr.plots.style import CLEAN, DEFENDED, INK, MARKERS, PAGE, PALETTE, figure_style, value_squares

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from pcvr.experiments.study.sheets import Name, Sheet

REPORT = 10.9
"""Width of the report's page in inches, 75 em: it is wider than a notebook's."""


def success_picture(sheet: Sheet) -> Figure:
    """Draw attack success as squares (mean over seeds), and correct answers on clean and triggered inputs.

    A square without a value was not run; the title of an attack that did not take says so, and one of
    which that is not known.

    Args:
        sheet: from `pcvr.experiments.study.sheets.sheets_of`.
    """
    from matplotlib.figure import Figure

    columns = [column for column in sheet.columns if sheet.attacked(column)]
    rates = {(row, c): sheet.at(row, c) for row in sheet.rows for c in columns}
    found = {place: cell.rates for place, cell in rates.items() if cell and cell.rates}
    values = np.array(
        [[100 * found[row, c].mean if (row, c) in found else np.nan for c in columns] for row in sheet.rows]
    )
    taken = {True: "", False: "\n(did not take)", None: "\n(not known whether it took)"}
    titles = [sheet.columns[c] + taken[sheet.took(c)] for c in columns]
    with figure_style():
        height = 0.34 * len(sheet.rows) + 1.9
        size = min(REPORT, 5.5 + 0.8 * len(columns)), height
        figure = Figure(figsize=size, layout="constrained", label="report")
        left, right = figure.subplots(1, 2, width_ratios=[max(2, len(columns)), 4])
        if columns:
            texts = [[percent(found[row, c]) if (row, c) in found else "" for c in columns] for row in sheet.rows]
            value_squares(left, values, titles, sheet.rows, texts)
            left.tick_params(axis="x", rotation=30)
        left.set_title("attack success (%), mean over seeds")
        _correct(right, sheet)
        figure.legend(*right.get_legend_handles_labels(), loc="outside lower right", ncols=2)
    said = "; ".join(f"{row}, {sheet.columns[c]}: {rates}" for (row, c), rates in found.items())
    return described(figure, f"Squares of attack success. {said or 'Nothing was run.'}", sheet.title)


def _correct(axes: Axes, sheet: Sheet) -> None:
    """Draw correct answers under each attack as a point: full for clean inputs, open for triggered ones."""
    for shift, colour, fill, label, name in (
        (-0.15, CLEAN, CLEAN, "clean inputs", "right"),
        (0.15, DEFENDED, "none", "triggered inputs", "triggered_right"),
    ):
        for row, title in enumerate(sheet.rows):
            cells = [cell for column in sheet.columns if (cell := sheet.at(title, column))]
            values = [100 * value for cell in cells if (value := cell.mean(name)) is not None]
            axes.plot(
                values, [row + shift] * len(values), "o", ms=5, color=colour, mfc=fill, label=None if row else label
            )
    axes.set(ylim=(len(sheet.rows) - 0.5, -0.5), xlim=(-3, 103), title="correct answers (%)")
    axes.set_yticks(range(len(sheet.rows)), [""] * len(sheet.rows))


def price_picture(sheet: Sheet) -> Figure:
    """Draw each defence as a point: attack success against utility, and against seconds; lines reach to its attacks.

    A point is the mean over the attacks that took; the line spans the best and the worst of them.

    Args:
        sheet: from `pcvr.experiments.study.sheets.sheets_of`.
    """
    from matplotlib.figure import Figure

    points = {row: point for row in sheet.rows if (point := _point(sheet, row))}
    with figure_style():
        figure = Figure(figsize=(PAGE, 4.6), layout="constrained")
        panels = figure.subplots(1, 2, sharey=True)
        for number, (row, (asr, utility, seconds)) in enumerate(points.items()):
            look = {"color": PALETTE[number % len(PALETTE)], "mec": INK, "mew": 0.6, "ms": 8, "ls": "none"}
            for axes, at in zip(panels, (utility, seconds), strict=True):
                if at is not None:
                    axes.plot([at, at], [min(asr), max(asr)], color=INK, lw=1)
                    axes.plot(at, mean(asr), MARKERS[number % len(MARKERS)], label=row, **look)
        panels[0].set_xlabel("clean answers, relative to no defence (%)")
        panels[1].set_xlabel("seconds of fine-tuning")
        panels[0].set_ylabel("attack success (%), lower is better")
        panels[0].set_ylim(-4, 104)
        kept = [utility for _, utility, _ in points.values() if utility is not None]
        panels[0].set_xlim(min([78, *(value - 2 for value in kept)]), max([102, *(value + 2 for value in kept)]))
        panels[1].set_xlim(left=0)
        handles = {name: line for ax in panels for line, name in zip(*ax.get_legend_handles_labels(), strict=True)}
        if handles:
            figure.legend(handles.values(), handles, loc="outside lower center", ncols=3, fontsize=9)
    said = "; ".join(
        f"{row}: {mean(asr):.1f} % (from {min(asr):.1f} to {max(asr):.1f})"
        + ("" if utility is None else f" at {utility:.1f} % of the clean answers")
        + ("" if seconds is None else f" in {seconds:.0f} s")
        for row, (asr, utility, seconds) in points.items()
    )
    return described(figure, f"Attack success against utility and seconds. {said or 'Nothing was run.'}", sheet.title)


def _point(sheet: Sheet, row: str) -> tuple[list[float], float | None, float | None] | None:
    """Attack success of each attack known to have taken, in per cent, mean utility in per cent, and mean seconds."""
    columns: list[Name] = [c for c in sheet.columns if sheet.took(c) is True]
    cells = {c: cell for c in columns if (cell := sheet.at(row, c)) and cell.rates}
    if not cells:
        return None
    asr = [100 * cell.rates.mean for cell in cells.values() if cell.rates]
    kept = [100 * value for c in cells if (value := sheet.utility(row, c)) is not None]
    seconds = [value for cell in cells.values() if (value := cell.mean("seconds")) is not None]
    return asr, mean(kept) if kept else None, mean(seconds) if seconds else None
