"""Show how one step down a term changes answers, and how hard each bound of the pull-apart term pushes samples."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from pcvr.errors import PcvrError
from pcvr.plots.describe import described
from pcvr.plots.style import CLEAN, INK, PAGE, PALETTE, TRIGGERED, figure_style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from pcvr.analysis.gradients import AnswerChange, Step


def step_grid(steps: Mapping[str, Step], title: str = "") -> Figure:
    """Draw the probability of each word before (solid) and after (hatched): a row for each step, a column an answer.

    Args:
        steps: name to step; all with the same readings. Readings with "target" in their title are drawn in the
            trigger's colour.
        title: of the figure.

    Raises:
        PcvrError: there is nothing to draw, or steps have different readings.
    """
    from matplotlib.figure import Figure

    readings = _same_readings(steps, "step_grid")
    widths = [max(len(reading.tokens), 5) for reading in next(iter(steps.values())).readings.values()]
    with figure_style():
        size = (min(PAGE, 2.6 + 0.26 * sum(widths)), 2.9 * len(steps) + 0.6)
        figure = Figure(figsize=size, layout="constrained")
        grid = figure.subplots(len(steps), len(readings), width_ratios=widths, sharey=True, squeeze=False)
        figure.suptitle(title, fontsize=11)
        for row, (name, step) in zip(grid, steps.items(), strict=True):
            for axes, (answer, reading) in zip(row, step.readings.items(), strict=True):
                _words(axes, reading, TRIGGERED if "target" in answer else CLEAN)
                axes.set_title(f"{answer}\n{reading.change:+.2f} nats", fontsize=10)
            row[0].set(ylim=(0, 1.02), ylabel=f"{name}\nprobability of the word")
        names = grid[0][-1].get_legend_handles_labels()
        figure.legend(*names, fontsize=9, loc="outside lower center", ncols=2)
    said = " ".join(
        f"{name}, {_moved(step)}: "
        + "; ".join(
            f"{answer}: {_before_and_after(reading)}; the whole answer {reading.change:+.2f} nats"
            for answer, reading in step.readings.items()
        )
        + "."
        for name, step in steps.items()
    )
    return described(figure, f"Probability of each word before and after a step. {said}", title)


def step_bars(step: Step, title: str = "") -> Figure:
    """Draw one step; see `step_grid`.

    Args:
        step: from `pcvr.analysis.gradients`.
        title: of the figure.
    """
    return step_grid({"one step": step}, f"{title}: {_moved(step)}" if title else _moved(step))


def step_table(steps: Mapping[str, Step], title: str = "One step down each term") -> Figure:
    """Draw how much several steps change the log-likelihood of each answer: terms down, a panel for each answer.

    Args:
        steps: term to step; all with the same readings.
        title: of the figure.

    Raises:
        PcvrError: there is nothing to draw, or steps have different readings.
    """
    from matplotlib.figure import Figure

    readings = _same_readings(steps, "step_table")
    at = np.arange(len(steps))[::-1]
    with figure_style():
        figure = Figure(figsize=(PAGE, 0.36 * len(steps) + 1.5), layout="constrained")
        figure.suptitle(title, fontsize=10.5)
        panels = figure.subplots(1, len(readings), sharex=True, sharey=True, squeeze=False)[0]
        changes = [reading.change for step in steps.values() for reading in step.readings.values()]
        reach = max(1.5 * float(np.abs(changes).max()), 0.05)  # one scale, so that lengths compare across panels
        for axes, name in zip(panels, readings, strict=True):
            values = np.array([step.readings[name].change for step in steps.values()])
            axes.barh(at, values, height=0.6, color=TRIGGERED if "target" in name else CLEAN)
            axes.axvline(0, color=INK, lw=1)
            for y, value, step in zip(at, values, steps.values(), strict=True):
                text = f"{value:+.2f}" if step.norm else "no gradient"
                side = -1 if value < 0 else 1
                axes.annotate(text, (value, y), (4 * side, 0), textcoords="offset points", va="center", fontsize=8,
                              ha="right" if side < 0 else "left")  # fmt: skip
            axes.set(title=name, xlim=(-reach, reach), xlabel="change (nats)", yticks=at, yticklabels=list(steps))
            axes.grid(axis="y", visible=False)
    said = "; ".join(
        f"{term}: {', '.join(f'{name} {r.change:+.2f}' for name, r in step.readings.items())}"
        + ("" if step.norm else " (no gradient)")
        for term, step in steps.items()
    )
    return described(figure, f"{title}. Change of the answers' log-likelihood in nats: {said}.")


def bound_pushes(divergence: np.ndarray, pushes: Mapping[str, np.ndarray], cap: float) -> Figure:
    """Draw how hard each bound pushes each sample, over the sample's present divergence.

    Args:
        divergence: ``[B]``, nats.
        pushes: bound to ``[B]``, from `pcvr.analysis.gradients.pushes`.
        cap: drawn as a line.
    """
    from matplotlib.figure import Figure

    values = np.asarray(divergence)
    with figure_style():
        figure = Figure(figsize=(7, 3.0), layout="constrained")
        axes = figure.subplots()
        order = np.argsort(values)
        for k, (bound, each) in enumerate(pushes.items()):
            heights = np.asarray(each)[order]
            style = {"ms": 11 - 3 * k, "color": PALETTE[k % 7], "mfc": "none", "mew": 1.8}
            axes.plot(values[order], heights, "osD^"[k % 4], label=bound, **style)
        axes.axvline(cap, color=INK, ls=":", lw=1.5, label="the cap")
        axes.set(xlabel="divergence of the sample's two views (nats)", ylabel="push (fraction of the total)")
        axes.set_title("Whom does each bound still push?")
        axes.legend(loc="best", fontsize=9)
    said = "; ".join(f"{bound} pushes {int((np.asarray(each) > 0).sum())}" for bound, each in pushes.items())
    return described(
        figure, f"Push on each of {len(values)} samples over its divergence, with the cap at {cap:g} nats: {said}."
    )


def _same_readings(steps: Mapping[str, Step], caller: str) -> list[str]:
    """Return the titles of the answers that all steps read."""
    names = [list(step.readings) for step in steps.values()]
    if not names or any(each != names[0] for each in names):
        raise PcvrError(f"{caller} got the readings {names}: give at least one step, all with the same readings.")
    return names[0]


def _words(axes: Axes, reading: AnswerChange, colour: str) -> None:
    at = np.arange(len(reading.tokens))
    axes.bar(at - 0.2, reading.before, width=0.4, color=colour, label="before")
    axes.bar(at + 0.2, reading.after, width=0.4, fc="white", ec=colour, hatch="////", label="after")
    axes.set_xticks(at, reading.tokens, rotation=90, fontsize=8)
    axes.grid(axis="x", visible=False)


def _moved(step: Step) -> str:
    before, after = step.loss
    return f"the term goes from {before:.3g} to {after:.3g}" if step.norm else "no gradient, nothing moves"


def _before_and_after(reading: AnswerChange) -> str:
    pairs = zip(reading.tokens, reading.before, reading.after, strict=True)
    return ", ".join(f"{word} {old:.2f} and {new:.2f}" for word, old, new in pairs)
