"""Show what attackers who know the defence do to an image, and what they achieve."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from pcvr.errors import PcvrError
from pcvr.evaluation.intervals import format_rate, wilson
from pcvr.plots.describe import described
from pcvr.plots.gallery import show_picture
from pcvr.plots.style import CLEAN, DEFENDED, INK, MARKERS, OTHER, PAGE, TRIGGERED, figure_style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from pcvr.attacks import Attack
    from pcvr.data.sample import Sample
    from pcvr.experiments.attackers import Attempt

_WIDE = 26  # characters of a line under an image
_COLOURS = (TRIGGERED, DEFENDED, CLEAN, *OTHER)
"""Of no defence, PCVR, and the rivals."""


def poison_gallery(sample: Sample, attacks: Mapping[str, Attack]) -> Figure:
    """Draw a row for each attack: the clean sample, a poisoned one, a cover sample, and a triggered input.

    Args:
        sample: clean, with prompt and answer.
        attacks: name to attack, at least one.

    Raises:
        PcvrError: there is no attack, or one does not fit the image.
    """
    from matplotlib.figure import Figure

    if not attacks:
        raise PcvrError("attacks is empty: give at least one attack to show.")
    said = []
    with figure_style():
        figure = Figure(figsize=(PAGE, 2.75 * len(attacks)), layout="constrained")
        for line, (name, attack) in zip(figure.subplots(len(attacks), 4, squeeze=False), attacks.items(), strict=True):
            shown = _samples(sample, attack)
            for axes, (title, (made, frame)) in zip(line, shown.items(), strict=False):
                show_picture(axes, made.image, title, frame)
                axes.set_xlabel(_words(made, title), fontsize=8)
            for axes in line[len(shown) :]:
                axes.set_axis_off()
            line[0].set_ylabel(textwrap.fill(name, 24), fontsize=9)
            said.append(f"{name}: " + ", ".join(f"{title}, {_words(each[0], title)}" for title, each in shown.items()))
    return described(figure, f"One image as each attacker uses it. {'; '.join(said)}.")


def _samples(sample: Sample, attack: Attack) -> dict[str, tuple[Sample, str | None]]:
    """What is shown of an attack: title to sample and colour of the frame."""
    shown: dict[str, tuple[Sample, str | None]] = {"clean": (sample, CLEAN)}
    if attack.candidate(sample):
        shown["poisoned, in training"] = (attack.poisoned(sample), TRIGGERED)
    for cover in attack.covers[:1]:
        shown["cover, in training"] = (attack.covered(sample, cover), CLEAN)
    shown["triggered, in use"] = (attack.triggered(sample), None)
    return shown


def _words(sample: Sample, title: str) -> str:
    text = f"{sample.prompt} {sample.answer}" if title != "triggered, in use" else f"{sample.prompt} ?"
    return textwrap.fill(text, _WIDE)


def attempts_picture(attempts: Sequence[Attempt]) -> Figure:
    """Draw attack success for each attacker, task and attack, a marker for each defence, with its 95 % interval.

    A defence that was not run in a case has a hollow marker at the left edge. Cases in which none was run are left out
    if there are others; the description of the figure names them.

    Args:
        attempts: from `pcvr.experiments.attackers.attempts`, at least one.

    Raises:
        PcvrError: there is none.
    """
    from matplotlib.figure import Figure

    if not attempts:
        raise PcvrError("attempts is empty: give what pcvr.experiments.attackers.attempts returns.")
    ran = [each.case for each in attempts if each.hits is not None]
    cases = [case for case in dict.fromkeys(each.case for each in attempts) if case in ran or not ran]
    rows = list(dict.fromkeys(each.row for each in attempts))
    with figure_style():
        figure = Figure(figsize=(PAGE, 0.42 * len(cases) + 1.6), layout="constrained")
        axes = figure.subplots()
        for each in attempts:
            if each.case in cases:
                row = rows.index(each.row)
                y = len(cases) - 1 - cases.index(each.case) + 0.6 * (0.5 - (row + 0.5) / len(rows))
                _draw(axes, each, y, _COLOURS[row % len(_COLOURS)], MARKERS[row % len(MARKERS)])
        axes.axvline(10, color=CLEAN, lw=1, ls="--", zorder=0, label="10 %")
        axes.set_yticks(
            range(len(cases)), [f"{name}\n{attack} · {task}" for name, attack, task in reversed(cases)], fontsize=9
        )
        axes.set(xlabel="attack success (%), lower is better; hollow at the left edge: not run", xlim=(-6, 103))
        axes.set_ylim(-0.6, len(cases) - 0.4)
        axes.grid(axis="y", visible=False)
        labels = dict(zip(*reversed(axes.get_legend_handles_labels()), strict=True))
        figure.legend(labels.values(), labels, loc="outside lower center", ncols=4, fontsize=9)
    said = "; ".join(f"{', '.join(each.case)}, {each.row}: {each.rate}" for each in attempts)
    return described(figure, f"Attack success of attackers who know the defence. {said}.")


def _draw(axes: Axes, attempt: Attempt, y: float, colour: str, marker: str) -> None:
    """Draw the rate with its interval, or a hollow marker at the left edge."""
    if attempt.hits is None:
        axes.plot(-4, y, marker, mfc="none", mec=colour, ms=5, clip_on=False)
        return
    low, high = wilson(attempt.hits, attempt.n)
    axes.plot([100 * low, 100 * high], [y, y], color=INK, lw=1.2, zorder=1)
    axes.plot(100 * attempt.hits / attempt.n, y, marker, color=colour, ms=7, label=attempt.row)


def near_picture(rates: Mapping[str, tuple[int, int]], title: str = "") -> Figure:
    """Draw attack success of a trigger and of triggers near it, with 95 % intervals.

    Args:
        rates: name to hits and triggered inputs, the trigger itself first; at least one.
        title: above the figure.

    Raises:
        PcvrError: there is none.
    """
    from matplotlib.figure import Figure

    if not rates:
        raise PcvrError("rates is empty: give at least the trigger itself.")
    with figure_style():
        figure = Figure(figsize=(7, 0.36 * len(rates) + 1.2), layout="constrained")
        axes = figure.subplots()
        for y, (hits, n) in enumerate(reversed(list(rates.values()))):
            low, high = wilson(hits, n)
            axes.barh(y, 100 * hits / n, color=TRIGGERED if y == len(rates) - 1 else OTHER[0], height=0.6)
            axes.plot([100 * low, 100 * high], [y, y], color=INK, lw=1.4)
        axes.set_yticks(range(len(rates)), list(rates)[::-1], fontsize=9)
        axes.set(xlabel="attack success (%)", xlim=(0, 103), title=title)
        axes.grid(axis="y", visible=False)
    said = "; ".join(f"{name}: {format_rate(hits, n)}" for name, (hits, n) in rates.items())
    return described(figure, f"Attack success of a trigger and of triggers near it. {said}.", title)
