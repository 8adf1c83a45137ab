"""The league table of the study: every defence with intervals, filtered by access, settings and attack."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, Any

from pcvr.errors import PcvrError
from pcvr.experiments.access import HAVE, usable
from pcvr.experiments.standings import ORIGINS, Outcome, Standing
from pcvr.experiments.study.sheets import NOT_RUN, NOT_TAKEN
from pcvr.utils.checks import check_choice

if TYPE_CHECKING:
    from ipywidgets import VBox

WORST = "worst of those that took"
ALL = "all"
ORDERS = ("attack success", "correct answers", "time of training", "order of the study")
_HEADS = ("defence", "settings", "acts", "needs", "attack success [95 %]", "correct answers, minus none [95 %]",
          "time of training", "time of an answer")  # fmt: skip

Tasks = Mapping[str, Sequence[Standing]]
"""Task to its rows, from `pcvr.experiments.standings.standings`."""


@dataclass(frozen=True)
class LeagueChoice:
    """What the league table shows.

    Attributes:
        task: a task that has rows.
        attack: name of an attack, or `WORST`: then correct answers are those under the attack that costs most, and
            times are medians.
        settings: one of `pcvr.experiments.standings.ORIGINS`, or `ALL`.
        order: one of `ORDERS`.
        have: keys of `pcvr.experiments.access.HAVE`: rows that need anything else are left out.
    """

    task: str
    attack: str = WORST
    settings: str = ALL
    order: str = ORDERS[0]
    have: frozenset[str] = frozenset(HAVE)


def chosen_rows(tasks: Tasks, choice: LeagueChoice) -> list[Standing]:
    """Return the rows of a choice in its order; the row without a defence always comes first.

    Rows that were not run come last; the others are compared by the mean over their seeds.

    Raises:
        PcvrError: an unknown task, attack, kind of settings, order or access.
    """
    check_choice("task", choice.task, list(tasks))
    found = list(tasks[choice.task])
    check_choice("attack", choice.attack, attacks_of(tasks, choice.task))
    check_choice("settings", choice.settings, (ALL, *ORIGINS))
    check_choice("order", choice.order, ORDERS)
    plain = [row for row in found if row.row == "none"]
    rest = [
        row for row in found
        if row.row != "none" and usable(row.row, choice.have) and choice.settings in (ALL, row.origin)
    ]  # fmt: skip
    if choice.order != ORDERS[3]:
        rest.sort(key=lambda row: _value(row, choice))
    return plain + rest


def attacks_of(tasks: Tasks, task: str) -> list[str]:
    """Return what the table can be shown for: the worst attack, and each attack of a task."""
    return [WORST, *dict.fromkeys(each.attack for row in tasks[task] for each in row.outcomes)]


def league_table(tasks: Tasks, choice: LeagueChoice) -> str:
    """Return the table of a choice as HTML, with a caption that screen readers announce; errors as `chosen_rows`."""
    rows = chosen_rows(tasks, choice)
    run = sum(_outcome(row, choice.attack) is not None for row in rows)
    said = (
        f"Task {choice.task}, attack: {choice.attack}. {len(rows)} of {len(tasks[choice.task])} rows for each defence "
        f"are shown, {run} of them were run."
    )
    head = "".join(f'<th scope="col" style="text-align:left;padding:2px 8px">{escape(name)}</th>' for name in _HEADS)
    body = "".join(_row(row, choice) for row in rows)
    return (
        f'<div role="status">{escape(said)}</div><div style="overflow-x:auto"><table style="line-height:1.4">'
        f"<caption>Defences, filtered</caption><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"
    )


@dataclass(frozen=True)
class LeagueControls:
    """The controls of :func:`league_explorer`, and where it shows the table.

    Attributes:
        task: name of the task.
        attack: name of an attack, or the worst.
        settings: where the settings of a row are from.
        order: what rows are sorted by.
        have: key of `pcvr.experiments.access.HAVE` to its check box.
        table: HTML widget.
    """

    task: Any
    attack: Any
    settings: Any
    order: Any
    have: Mapping[str, Any]
    table: Any

    def choice(self) -> LeagueChoice:
        """Return the choice that is set."""
        have = frozenset(name for name, box in self.have.items() if box.value)
        return LeagueChoice(self.task.value, self.attack.value, self.settings.value, self.order.value, have)


def league_explorer(tasks: Tasks, task: str | None = None) -> tuple[VBox, LeagueControls]:
    """Build the league table with its filters; code can set every control too.

    Args:
        tasks: task to its rows, at least one task.
        task: shown first; by default the first one.

    Returns:
        The box to display and its controls.

    Raises:
        PcvrError: there is no task, or not this one.
    """
    import ipywidgets as widgets

    from pcvr.widgets.page import on_page, wrapped_row
    from pcvr.widgets.redraw import View, on_change, redrawing

    if not tasks:
        raise PcvrError("tasks is empty: give at least one task with its rows.")
    first = LeagueChoice(task or next(iter(tasks)))
    table = league_table(tasks, first)
    look = {"style": {"description_width": "70px"}, "layout": widgets.Layout(width="330px")}
    controls = LeagueControls(
        task=widgets.Dropdown(options=list(tasks), value=first.task, description="Task", **look),
        attack=widgets.Dropdown(options=attacks_of(tasks, first.task), description="Attack", **look),
        settings=widgets.Dropdown(options=(ALL, *ORIGINS), description="Settings", **look),
        order=widgets.Dropdown(options=ORDERS, description="Sort by", **look),
        have={
            name: widgets.Checkbox(value=True, description=said, indent=False, layout=widgets.Layout(width="420px"))
            for name, said in HAVE.items()
        },
        table=widgets.HTML(table),
    )

    def draw() -> View:
        attacks = tuple(attacks_of(tasks, controls.task.value))
        if controls.attack.options != attacks:
            controls.attack.options = attacks
        return View(league_table(tasks, controls.choice()))

    moved = (controls.task, controls.attack, controls.settings, controls.order)
    on_change((*moved, *controls.have.values()), redrawing(draw, controls.table))
    return on_page(wrapped_row(*moved), wrapped_row(*controls.have.values()), controls.table), controls


def _outcome(row: Standing, attack: str) -> Outcome | None:
    """The outcome that is shown of a row; None if it was not run."""
    if attack == WORST:
        return row.worst
    return next((each for each in row.outcomes if each.attack == attack and each.rates is not None), None)


def _value(row: Standing, choice: LeagueChoice) -> float:
    """What a row is sorted by; rows without it come last."""
    each = _outcome(row, choice.attack)
    if each is None or each.rates is None:
        return float("inf")
    lost, time = each, each.time
    if choice.attack == WORST:
        lost, time = row.dearest or each, row.time
    found = {ORDERS[0]: each.rates.mean, ORDERS[1]: lost.loss, ORDERS[2]: time}[choice.order]
    return float("inf") if found is None else found


def _row(row: Standing, choice: LeagueChoice) -> str:
    cells = [row.origin, row.access.when, ", ".join(name for name in HAVE if name in row.access.needs)]
    cells += _figures(row, choice.attack)
    first = f'<th scope="row" style="text-align:left;padding:2px 8px">{escape(row.row)}</th>'
    rest = "".join(f'<td style="padding:2px 8px">{escape(cell)}</td>' for cell in cells)
    return f"<tr>{first}{rest}</tr>"


def _figures(row: Standing, attack: str) -> list[str]:
    """Attack success, correct answers and the two times of a row, as texts."""
    each = _outcome(row, attack)
    if each is None or each.rates is None:
        return [NOT_RUN, "-", "-", "-"]
    said, lost, times = str(each.rates), each, (each.time, each.answer_time)
    if attack == WORST:
        said += f" {row.where}" + ("" if row.whole else f"; {len(row.counted)} of {len(row.outcomes)} attacks run")
        lost, times = row.dearest or each, (row.time, row.answer_time)
    elif each.took is not True:
        said += f"; {NOT_TAKEN if each.took is False else 'undefended: not run'}"
    ends = " / ".join(
        f"{100 * pair.difference:+.1f} [{100 * pair.interval[0]:+.1f}, {100 * pair.interval[1]:+.1f}]"
        for pair in lost.kept
    )
    if not ends or row.row == "none":
        ends = "-"
    else:
        ends += " points" + (f" under {lost.attack}" if attack == WORST else "")
    return [said, ends, *map(_times, times)]


def _times(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f} x"
