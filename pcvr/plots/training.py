"""Show trainings: loss over steps, a training in progress, the forming of a backdoor, and models side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from pcvr.errors import PcvrError
from pcvr.evaluation.intervals import at_most, wilson
from pcvr.evaluation.metrics import Scores, get_metric, headline
from pcvr.plots.describe import described
from pcvr.plots.style import CLEAN, DEFENDED, INK, LINES, OTHER, PAGE, PALETTE, TRIGGERED, figure_style
from pcvr.tasks import get_task

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from pcvr.evaluation.record import Record
    from pcvr.training.backdoor_watch import WatchPoint
    from pcvr.training.live import LoggedStep

_OWN_COLOURS = (DEFENDED, TRIGGERED, *OTHER)  # of the defence's own figures


def history_curves(
    histories: Mapping[str, Sequence[Mapping[str, float]]],
    key: str = "loss",
    ylabel: str = "training loss (nats per token)",
    marks: Mapping[str, float] | None = None,
) -> Figure:
    """Draw one figure of the training history over steps, a line for each training.

    Args:
        histories: name to the ``history`` of a `FinetuneResult`.
        key: name of the figure; entries without it are left out.
        ylabel: label of the y axis with its unit.
        marks: label to step, drawn as vertical lines, such as a scoring.

    Raises:
        PcvrError: there is nothing to draw.
    """
    from matplotlib.figure import Figure

    lines = {name: [(h["step"], h[key]) for h in history if key in h] for name, history in histories.items()}
    lines = {name: points for name, points in lines.items() if points}
    if not lines:
        raise PcvrError(f"no history has an entry {key!r}: train for at least ten steps, and look at result.history.")
    with figure_style():
        figure = Figure(figsize=(7, 3.2), layout="constrained")
        axes = figure.subplots()
        for k, (name, points) in enumerate(lines.items()):
            steps, values = zip(*points, strict=True)
            axes.plot(steps, values, LINES[k % 4], color=PALETTE[k % len(PALETTE)], lw=2, marker=".", label=name)
        for label, step in (marks or {}).items():
            _mark_step(axes, step, label)
        axes.set(xlabel="optimiser step", ylabel=ylabel, title="How the training went")
        axes.set_ylim(bottom=0)
        axes.legend(loc="best")
    said = "; ".join(f"{name} from {p[0][1]:.2f} to {p[-1][1]:.2f}" for name, p in lines.items())
    return described(figure, f"Lines of {ylabel} over optimiser steps: {said}.")


def live_curves(points: Sequence[LoggedStep], steps: int) -> Figure:
    """Draw the loss over optimiser steps, and below it a line for each figure of the defence.

    Args:
        points: from `pcvr.training.live.Recorder`; none at first.
        steps: last step of the present stage, the end of the axis.
    """
    from matplotlib.figure import Figure

    names = list(dict.fromkeys(name for point in points for name in point.figures))
    with figure_style():
        figure = Figure(figsize=(7, 2.6 + 1.8 * bool(names)), layout="constrained")
        panels = figure.subplots(1 + bool(names), 1, sharex=True, squeeze=False)[:, 0]
        panels[0].plot([p.step for p in points], [p.loss for p in points], "-", color=CLEAN, lw=2, marker=".")
        panels[0].set(ylabel="loss", title="The training so far")
        for k, name in enumerate(names):
            logged = [(p.step, p.figures[name]) for p in points if name in p.figures]
            panels[-1].plot(*zip(*logged, strict=True), LINES[k % 4], color=_OWN_COLOURS[k % 6], marker=".", label=name)
        if names:
            panels[-1].legend(loc="best", fontsize=8)
        for before, point in pairwise(points):
            if point.stage != before.stage:
                _mark_step(panels[0], before.step, point.stage)
        panels[-1].set(xlabel="optimiser step")
        panels[-1].set_xlim(0, max(steps, 1))
        panels[0].set_ylim(bottom=0)
    if not points:
        return described(figure, "Axes of the loss over optimiser steps; nothing has been logged yet.")
    own = "; ".join(f"{name} {value:.3g}" for name, value in points[-1].figures.items())
    text = f"Loss over optimiser steps: from {points[0].loss:.2f} to {points[-1].loss:.2f} at step {points[-1].step}."
    return described(figure, f"{text} {own}")


def formation(points: Sequence[WatchPoint]) -> Figure:
    """Draw how a backdoor forms: attack success over steps with its 95 % Wilson band, and clean utility.

    Args:
        points: from `pcvr.training.backdoor_watch.BackdoorWatch`, at least one.
    """
    from matplotlib.figure import Figure

    if not points:
        raise PcvrError("there are no points to draw: pass the watch to finetune(callbacks=[watch]) first.")
    steps = [p.step for p in points]
    with figure_style():
        figure = Figure(figsize=(PAGE, 3.4), layout="constrained")
        left, right = figure.subplots(1, 2)
        low, high = zip(*(p.interval for p in points), strict=True)
        left.fill_between(steps, [100 * v for v in low], [100 * v for v in high], color=TRIGGERED, alpha=0.2, lw=0)
        left.plot(steps, [100 * p.asr for p in points], "-o", color=TRIGGERED, label="with the trigger", ms=4)
        left.plot(steps, [100 * p.clean_hits / p.n for p in points], "--s", color=CLEAN, label="without", ms=4)
        left.set(xlabel="optimiser step", ylabel="answers that say the target (%)", ylim=(-3, 103))
        left.set_title("The backdoor")
        left.legend(loc="center right")
        name, limits = _axis(points[-1].task, points[-1].clean)
        values = [_shown(p.task, p.clean) for p in points]
        right.plot(steps, values, "--s", color=CLEAN, ms=4)
        right.set(xlabel="optimiser step", ylabel=name, title="Meanwhile, on clean images")
        right.set_ylim(*(limits or (0, 1.1 * max(*values, 1))))
    text = (
        f"Two panels over optimiser steps, {points[0].n} images each. Answers that say the target on triggered "
        f"images go from {100 * points[0].asr:.0f} to {100 * points[-1].asr:.0f} percent, on clean ones they end at "
        f"{100 * points[-1].clean_hits / points[-1].n:.0f} percent. {name}: {values[0]:.0f} to {values[-1]:.0f}."
    )
    return described(figure, text)


def compare(records: Mapping[str, Record]) -> Figure:
    """Draw models side by side: attack success with interval and floor, and utility on clean and triggered inputs.

    Args:
        records: name to the `Record` of `pcvr.evaluate`, with an attack, at least one; drawn from top to bottom.
    """
    from matplotlib.figure import Figure

    if not records or any(r.attack is None or r.triggered is None for r in records.values()):
        raise PcvrError("compare() draws records that were made with an attack: call evaluate(model, data, attack).")
    names = list(records)[::-1]
    with figure_style():
        figure = Figure(figsize=(PAGE, 0.6 * len(names) + 1.8), layout="constrained")
        left, right = figure.subplots(1, 2, sharey=True)
        _asr_panel(left, [records[n] for n in names])
        label = _utility_panel(right, [records[n] for n in names])
        for axes, place in ((left, "outside lower left"), (right, "outside lower right")):
            handles, labels = axes.get_legend_handles_labels()
            figure.legend(handles, labels, loc=place, ncols=2, fontsize=8)
        left.set(yticks=range(len(names)), yticklabels=names)
        for axes in (left, right):
            axes.grid(axis="y", visible=False)
            axes.set_ylim(-0.6, len(names) - 0.4)
    said = "; ".join(
        f"{n}: {100 * records[n].asr:.1f} percent with the trigger, {100 * records[n].clean_asr:.1f} percent without, "
        f"{label} {_shown(records[n].task, records[n].clean):.1f}"
        for n in names[::-1]
    )
    return described(figure, f"Bars of how often each model says the target, and dots of its utility. {said}.")


def _mark_step(axes: Axes, step: float, label: str) -> None:
    axes.axvline(step, color=INK, lw=1, ls=":")
    place = {"xycoords": ("data", "axes fraction"), "textcoords": "offset points", "va": "top"}
    axes.annotate(label, (step, 1), (4, -4), fontsize=9, **place)


def _asr_panel(axes: Axes, records: Sequence[Record]) -> None:
    for row, record in enumerate(records):
        low, high = (100 * v for v in record.asr_interval)
        names = ("with the trigger", "95 % interval", "without") if row == 0 else (None, None, None)
        axes.barh(row, 100 * record.asr, color=TRIGGERED, height=0.55, label=names[0])
        axes.plot([low, high], [row, row], color=INK, lw=1.5, label=names[1])
        axes.plot(100 * record.clean_asr, row, "D", color=CLEAN, ms=6, mec="white", label=names[2])
        # No hit in n never means 0 %: rates below 3 / n remain possible.
        text = f"{100 * record.asr:.1f}" if record.hits else f"< {100 * at_most(record.counted):.1f}"
        axes.annotate(text, (high, row), (6, 0), textcoords="offset points", va="center")
    axes.set(xlim=(-2, 114), xlabel="answers that say the target (%)", title="Does the backdoor fire?")


def _utility_panel(axes: Axes, records: Sequence[Record]) -> str:
    name, limits = _axis(records[0].task, records[0].clean)
    rows = range(len(records))
    axes.plot([_shown(r.task, r.clean) for r in records], rows, "D", color=CLEAN, ms=8, label="clean images")
    style: dict[str, Any] = {"color": TRIGGERED, "ms": 8, "mfc": "none", "mew": 2}
    axes.plot(
        [_shown(r.task, r.triggered) for r in records if r.triggered], rows, "o", label="triggered images", **style
    )
    axes.set(xlabel=name, title="Are the answers good?")
    if limits:
        axes.set_xlim(*limits)
    else:
        axes.set_xlim(left=0)
    return name


def rate_bars(rates: Mapping[str, tuple[int, int]], xlabel: str = "answers that count (%)", title: str = "") -> Figure:
    """Draw a bar with its 95 % Wilson interval for each rate.

    Args:
        rates: label to ``(hits, n)``; drawn from top to bottom.
        xlabel: what the rate counts, with its unit.
        title: of the figure.
    """
    from matplotlib.figure import Figure

    if not rates:
        raise PcvrError("there is no rate to draw: give at least one (hits, n).")
    labels = list(rates)[::-1]
    with figure_style():
        figure = Figure(figsize=(7, 0.42 * len(labels) + 1.2), layout="constrained")
        axes = figure.subplots()
        for row, label in enumerate(labels):
            hit, n = rates[label]
            low, high = (100 * v for v in wilson(hit, n))
            axes.barh(row, 100 * hit / n, color=OTHER[1], height=0.6)
            axes.plot([low, high], [row, row], color=INK, lw=1.5)
            axes.annotate(f"{hit} of {n}", (high, row), (6, 0), textcoords="offset points", va="center", fontsize=9)
        axes.set(yticks=range(len(labels)), yticklabels=labels, xlim=(0, 122), xlabel=xlabel, title=title)
        axes.set_xticks(range(0, 101, 20))
        axes.grid(axis="y", visible=False)
    said = "; ".join(f"{label}: {hit} of {n}" for label, (hit, n) in rates.items())
    return described(figure, f"Bars of {xlabel} with 95 percent intervals. {said}.")


def _axis(task: str, scores: Scores) -> tuple[str, tuple[float, float] | None]:
    """Return label and limits of an axis for the task's headline figure."""
    metric = get_metric(headline(get_task(task), scores))
    return (f"{metric.label} (%)", (-3.0, 103.0)) if metric.share else (metric.label, None)


def _shown(task: str, scores: Scores) -> float:
    """Return the task's headline figure as drawn: fractions in per cent."""
    name = headline(get_task(task), scores)
    return 100 * scores[name] if get_metric(name).share else scores[name]
