"""The judge: the reader decides which samples of an audit are poison, and is told how often they were right."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from html import escape
from typing import TYPE_CHECKING, Any

import numpy as np

from pcvr.auditing.explain import Shown, explained
from pcvr.errors import PcvrError, legible
from pcvr.plots.audit import evidence_picture
from pcvr.utils.checks import check_seed, check_whole

if TYPE_CHECKING:
    from ipywidgets import VBox
    from matplotlib.figure import Figure

    from pcvr.auditing.outcome import Audit

HONEST, POISON = "honest", "poison"
"""The two verdicts."""


@dataclass(frozen=True)
class Case:
    """A sample to judge.

    Attributes:
        shown: the sample, and what the model says to it and to views of it.
        score: of the audit, powers of ten.
        flagged: whether the audit flags it.
        poisoned: the truth; None if nobody knows it.
    """

    shown: Shown
    score: float
    flagged: bool
    poisoned: bool | None = None

    @property
    def answer(self) -> str:
        """The verdict that counts as correct: the truth, or else the audit's."""
        return POISON if (self.flagged if self.poisoned is None else self.poisoned) else HONEST


def draw_cases(audit: Audit, count: int = 12, seed: int = 0, truth: Collection[str] | None = None) -> list[Case]:
    """Draw samples to judge, in random order: flagged ones, the unflagged ones of the highest scores, ordinary ones.

    Args:
        audit: the result.
        count: samples, at least 1; a half of them are flagged if there are so many, a quarter have high scores.
        seed: of the draw.
        truth: ids of the poisoned samples; None if nobody knows them.

    Raises:
        PcvrError: a count below 1.
    """
    check_whole("count", count, 1, what="samples")
    check_seed(seed)
    rng = np.random.default_rng(seed)
    flagged, rest = np.flatnonzero(audit.flagged), np.flatnonzero(~audit.flagged)
    bad = rng.permutation(flagged)[: count // 2]
    high = rest[np.argsort(-audit.verdict.scores[rest], kind="stable")][: count // 4]
    usual = rng.permutation(np.setdiff1d(rest, high))[: count - len(bad) - len(high)]
    rows = rng.permutation(np.concatenate([bad, high, usual]))
    ids = audit.store.ids()
    return [
        Case(
            each,
            float(audit.verdict.scores[each.row]),
            bool(audit.flagged[each.row]),
            None if truth is None else ids[each.row] in truth,
        )
        for each in explained(audit, seed=seed, rows=rows)
    ]


def case_picture(cases: Sequence[Case], number: int, with_map: bool = False) -> Figure:
    """Draw the picture of a case and its views, and on demand where it looks like the trigger.

    All maps share one scale, that of the strongest case: an honest picture stays grey.

    Args:
        cases: from :func:`draw_cases`.
        number: of the case, from 0.
        with_map: whether the map is shown; a case without one is drawn without.
    """
    shown = cases[number].shown
    maps = [each.shown.likeness for each in cases if each.shown.likeness is not None]
    top = max((float(each.max()) for each in maps), default=None)
    return evidence_picture(shown.sample.image, shown.pictures, shown.likeness if with_map else None, top)


def case_line(case: Case) -> str:
    """Return HTML with what a judge reads of a case: prompt, label, and what the model says."""
    shown = case.shown
    lines = [
        ("prompt", shown.sample.prompt),
        ("label", shown.sample.answer),
        ("the model says", shown.answer or "(nothing)"),
        *((f"to view {number}", text or "(nothing)") for number, text in enumerate(shown.views, 1)),
    ]
    return "".join(f"<div><b>{escape(name)}:</b> {escape(legible(text))}</div>" for name, text in lines)


def verdict_line(case: Case, said: str) -> str:
    """Return in words what the reader said, what the audit says, and the truth if it is known."""
    audit = f"The audit {'flags' if case.flagged else 'does not flag'} it (score {case.score:.1f})."
    if case.poisoned is None:
        return f"You said {said}. {audit} You {'agree' if said == case.answer else 'disagree'}."
    truth = "poisoned" if case.poisoned else "honest"
    return f"You said {said}: {'right' if said == case.answer else 'wrong'}. {audit} The truth: {truth}."


def tally(cases: Sequence[Case], said: dict[int, str]) -> str:
    """Return how often the reader was right, and the audit on the same cases.

    Args:
        cases: all cases.
        said: number of a case to the reader's verdict on it.
    """
    if not said:
        return f"{len(cases)} cases, none judged yet."
    mine = sum(verdict == cases[number].answer for number, verdict in said.items())
    judged = f"{len(said)} of {len(cases)} judged"
    if any(cases[number].poisoned is None for number in said):
        return f"{judged}: you and the audit agree on {mine}."
    audit = sum(cases[number].flagged == cases[number].poisoned for number in said)
    return f"{judged}: you were right {mine} times, the audit {audit} times."


@dataclass
class JudgeControls:
    """The widgets of :func:`judge`, and the verdicts.

    Attributes:
        case: slider with the number of the case, from 1.
        with_map: whether the map is shown.
        honest: button.
        poison: button.
        picture: Image widget.
        words: HTML with the texts of the case.
        status: HTML with the verdict and the tally.
        said: number of a case, from 0, to the verdict.
    """

    case: Any
    with_map: Any
    honest: Any
    poison: Any
    picture: Any
    words: Any
    status: Any
    said: dict[int, str] = field(default_factory=dict)


def judge(cases: Sequence[Case]) -> tuple[VBox, JudgeControls]:
    """Build the widget.

    Args:
        cases: from :func:`draw_cases`.

    Returns:
        The box to display, and its controls.

    Raises:
        PcvrError: there is no case.
    """
    import ipywidgets as widgets

    from pcvr.widgets.page import on_page, wrapped_row
    from pcvr.widgets.picture import figure_image
    from pcvr.widgets.redraw import View, on_change, redrawing

    if not cases:
        raise PcvrError("there is no case to judge: draw at least one with draw_cases.")
    look = {"style": {"description_width": "60px"}, "layout": widgets.Layout(width="360px")}
    controls = JudgeControls(
        case=widgets.IntSlider(value=1, min=1, max=len(cases), description="Case", continuous_update=False, **look),
        with_map=widgets.Checkbox(value=False, description="Show the map", indent=False),
        honest=widgets.Button(description="Honest", tooltip="Judge this case as honest"),
        poison=widgets.Button(description="Poison", tooltip="Judge this case as poison"),
        picture=figure_image(case_picture(cases, 0)),
        words=widgets.HTML(case_line(cases[0])),
        status=widgets.HTML(),
    )

    def report() -> None:
        number = controls.case.value - 1
        said = controls.said.get(number)
        first = "What do you say?" if said is None else verdict_line(cases[number], said)
        controls.status.value = _status(f"{first} {tally(cases, controls.said)}")

    def draw() -> View:
        number = controls.case.value - 1
        return View(case_line(cases[number]), (case_picture(cases, number, controls.with_map.value),))

    show = redrawing(draw, controls.words, controls.picture)

    def redraw(_: object = None) -> None:
        show()
        report()

    def say(verdict: str) -> None:
        controls.said[controls.case.value - 1] = verdict
        report()

    report()
    on_change((controls.case, controls.with_map), redraw)
    controls.honest.on_click(lambda _: say(HONEST))
    controls.poison.on_click(lambda _: say(POISON))
    top = wrapped_row(controls.case, controls.with_map)
    buttons = wrapped_row(controls.honest, controls.poison)
    return on_page(top, controls.picture, controls.words, buttons, controls.status), controls


def _status(text: str) -> str:
    """Return HTML that screen readers announce."""
    return f'<div role="status">{escape(text)}</div>'
